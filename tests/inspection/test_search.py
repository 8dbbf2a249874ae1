"""What is chosen on one half of a text is judged on the other; luck is called luck."""

import numpy as np
import pytest
import torch

from rnnlab.inspection.clamp import Unit
from rnnlab.inspection.properties import Property
from rnnlab.inspection.search import group_tokens, search
from rnnlab.inspection.states import Quantity

H, C, GATE = Quantity(0, "h"), Quantity(0, "c"), Quantity(0, "forget")
ASKED = {"one": Property("something holds", lambda tokens: [])}


def ask(activations, holds, tokens=None, groups=None, top=2):
    tokens = torch.zeros(len(holds), dtype=torch.int64) if tokens is None else tokens
    groups = group_tokens([20] * (len(holds) // 20)) if groups is None else groups
    (answer,) = search(activations, ASKED, {"one": holds}, tokens, groups, top=top)
    return answer


def test_the_unit_that_knows_is_found_whichever_way_it_points():
    torch.manual_seed(0)
    holds = torch.rand(2000) < 0.3
    c = torch.randn(2000, 8)
    c[:, 5] -= 4 * holds
    answer = ask({H: torch.randn(2000, 8), C: c, GATE: holds[:, None].float()}, holds)
    assert answer.best is not None
    assert (answer.best.unit, answer.best.is_low) == (Unit(C, 5), True), "a gate is no state, however well it tells"
    assert answer.is_known
    # two normal curves 4 apart: AUC = Phi(4 / sqrt 2) = 0.9977
    assert answer.best.auc == pytest.approx(0.9977, abs=0.004)
    assert [len(found) for found in answer.ranked.values()] == [2, 2, 1]
    assert answer.ranked[GATE][0].auc == 1
    assert answer.sentence().startswith(
        "unit 5 of layer 0 (c, low where it holds) knows whether something holds: AUC 1.00"
    )


def test_the_best_of_many_by_luck_is_told_to_be_luck():
    torch.manual_seed(1)
    holds = (torch.rand(100) < 0.5).repeat_interleave(20)  # one draw a text: 100 draws, and 400 units to choose from
    answer = ask({H: torch.randn(100, 400).repeat_interleave(20, 0)}, holds)
    assert answer.best is not None
    assert not answer.is_known
    assert abs(answer.best.auc - 0.5) < 0.2
    assert answer.sentence().startswith("no unit beats chance at whether something holds: the best, unit ")


def test_what_the_token_tells_by_itself_stands_beside():
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 5, 2000))
    holds = tokens == 3
    answer = ask({H: holds[:, None].float()}, holds, tokens)
    assert answer.token_alone == 1
    assert answer.sentence().endswith("the token just read alone gives 1.00, so that it takes no memory")
    turned = torch.arange(2000) % 2 == 0
    answer = ask({H: turned[:, None].float()}, turned, tokens)
    assert answer.token_alone == pytest.approx(0.5, abs=0.06)  # 1,000 tokens: four standard errors of 0.018, less luck


@pytest.mark.parametrize(
    ("holds", "lengths", "reason"),
    [
        (
            torch.arange(400) < 3,
            [20] * 20,
            "it holds at 3 of 400 tokens; both halves need 20 where it holds and where not",
        ),
        (torch.arange(400) < 200, [20] * 20, "it holds at 200 of 400 tokens"),
        (torch.arange(5) < 2, [5], "the text has 5 parts, wanted 8 for an interval"),
    ],
)
def test_too_little_is_not_searched(holds, lengths, reason):
    answer = ask({H: torch.randn(len(holds), 3)}, holds, groups=group_tokens(lengths))
    assert answer.best is None
    assert answer.unsearched is not None
    assert answer.unsearched.startswith(reason)
    assert answer.sentence().startswith(
        "not searched, whether something holds: it" if "holds" in reason else "not searched"
    )


def test_groups_are_texts_or_stretches_of_few_long_ones():
    assert group_tokens([2, 3, 1], wanted=3).tolist() == [0, 0, 1, 1, 1, 2]
    assert group_tokens([10], wanted=4).tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3]
    assert group_tokens([5, 1], wanted=3).tolist() == [0, 0, 1, 1, 2, 3]
