import math

import pytest
import torch
from torch.nn import functional

from rnnlab.evaluation import Classification, CrossEntropy


def test_cross_entropy_does_not_depend_on_how_the_windows_are_cut():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(23, 3, 7, generator=generator)
    targets = torch.randint(7, (23, 3), generator=generator)
    whole, cut = CrossEntropy(), CrossEntropy()
    whole.add(logits, targets)
    for start in range(0, 23, 5):  # the last window is short: a mean of means would be off
        cut.add(logits[start : start + 5], targets[start : start + 5])
    assert cut.count == whole.count == 69
    # Summed in float64 from the same float32 losses: only the order of the additions differs.
    assert cut.nats == pytest.approx(whole.nats, rel=1e-14)
    assert whole.nats == pytest.approx(
        functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item(), rel=1e-6
    )


def test_masked_targets_do_not_count_even_where_the_logits_are_nan():
    logits = torch.zeros(2, 2, 4)
    logits[1, 1] = torch.nan
    score = CrossEntropy()
    score.add(logits, torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[True, True], [True, False]]))
    assert score.count == 3
    assert score.nats == pytest.approx(math.log(4), rel=1e-6)


def test_perplexity_and_bits_follow_from_nats():
    score = CrossEntropy()
    score.add_sum(torch.tensor(20 * math.log(8), dtype=torch.float64), 20)
    assert score.perplexity == pytest.approx(8)
    assert score.bits_per_char == pytest.approx(3)


def test_perplexity_is_infinite_where_exp_overflows():
    score = CrossEntropy()
    score.add_sum(1000.0, 1)
    assert score.perplexity == math.inf


def test_an_empty_score_is_nan():
    assert math.isnan(CrossEntropy().nats)
    assert math.isnan(CrossEntropy().perplexity)
    assert math.isnan(Classification(2).accuracy)
    assert math.isnan(Classification(2).macro_f1)


def test_adding_keeps_no_graph():
    logits = torch.zeros(1, 1, 3, requires_grad=True)
    score = CrossEntropy()
    score.add(logits, torch.zeros(1, 1, dtype=torch.int64))
    assert score._sum is not None
    assert not score._sum.requires_grad


def test_shapes_that_do_not_fit_are_named():
    score = CrossEntropy()
    with pytest.raises(ValueError, match=r"targets must be \(5, 2\).*got \(5,\)"):
        score.add(torch.zeros(5, 2, 3), torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mask must be \(5,\).*got \(4,\)"):
        score.add(torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64), torch.ones(4, dtype=torch.bool))


def test_confusion_rows_are_true_classes():
    score = Classification(3)
    score.add(torch.tensor([0, 2, 2, 1]), torch.tensor([0, 1, 2, 1]))
    assert score.confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert score.accuracy == 0.75
    assert score.f1 == pytest.approx([1.0, 2 / 3, 2 / 3])


def test_a_class_never_seen_is_left_out_of_macro_f1_and_scores_zero_itself():
    score = Classification(3)
    score.add(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert score.f1 == pytest.approx([2 / 3, 0.0, 0.0])
    assert score.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("num_classes", [2, 5])
def test_scores_agree_with_torchmetrics(num_classes):
    oracle = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(num_classes)
    logits = torch.randn(200, num_classes, generator=generator)
    targets = torch.randint(num_classes, (200,), generator=generator)
    score = Classification(num_classes)
    for rows in torch.arange(200).split(33):
        score.add(logits[rows], targets[rows])
    arguments = {"num_classes": num_classes}
    assert score.confusion.equal(oracle.multiclass_confusion_matrix(logits, targets, **arguments))
    # float32 in the oracle, float64 here.
    assert score.accuracy == pytest.approx(
        oracle.multiclass_accuracy(logits, targets, average="micro", **arguments).item()
    )
    assert score.macro_f1 == pytest.approx(oracle.multiclass_f1_score(logits, targets, **arguments).item())


def test_perplexity_agrees_with_torchmetrics():
    oracle = pytest.importorskip("torchmetrics.functional.text")
    generator = torch.Generator().manual_seed(1)
    logits, targets = torch.randn(4, 9, 6, generator=generator), torch.randint(6, (4, 9), generator=generator)
    score = CrossEntropy()
    score.add(logits, targets)
    assert score.perplexity == pytest.approx(oracle.perplexity(logits, targets).item(), rel=1e-6)


def test_bad_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        Classification(1)
    with pytest.raises(ValueError, match="targets must be classes 0 to 1, got 0 to 2"):
        Classification(2).add(torch.tensor([0, 1]), torch.tensor([0, 2]))
    with pytest.raises(
        ValueError, match=r"predictions must be \(2, 2\) scores or \(2,\) classes, got torch.float32 \(2, 3\)"
    ):
        Classification(2).add(torch.zeros(2, 3), torch.tensor([0, 1]))
