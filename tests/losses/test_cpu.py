"""The cross-entropy on the C++ engine in what the op's own tests do not see: sets, threads, bfloat16, far scores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import Library, library
from rnnlab.losses import cpu

FUNCTIONS = library().functions
pytestmark = pytest.mark.skipif(FUNCTIONS is None, reason=library().detail)


@pytest.fixture
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    FUNCTIONS.rnnlab_use_instruction_set(None)


def make(rows: int, hidden: int, vocab: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows)
    shapes = ((rows, hidden), (vocab, hidden), (vocab,))
    h, weight, bias = (torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)
    targets = torch.randint(vocab, (rows,), generator=generator)
    targets[::5] = -100
    return h, weight, bias, targets


def oracle(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> list[Tensor]:
    leaves = [tensor.double().requires_grad_() for tensor in (h, weight, bias)]
    loss = cross_entropy(linear(*leaves), targets, reduction="sum")
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def errors(got: tuple[Tensor, ...], exact: list[Tensor]) -> list[float]:
    return [float((a.double() - b).norm() / max(b.norm(), 1e-300)) for a, b in zip(got, exact, strict=True)]


@pytest.mark.parametrize("shape", [(2, 1, 3), (16, 5, 33), (5, 0, 7), (1200, 300, 130), (30, 300, 70), (40, 6, 9000)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 5e-6)])
def test_every_instruction_set_gives_torchs_values(
    shape: tuple[int, int, int], dtype: torch.dtype, bound: float, restored: None
) -> None:
    inputs = make(*shape, dtype)
    exact = oracle(*inputs)
    for name in ("avx512", "avx2", "portable"):
        if FUNCTIONS.rnnlab_use_instruction_set(name.encode()) == 0:
            # Roundings of 1e-16 or 6e-8, first of all of the scores; torch is as far off (3e-6 for 9000 columns).
            assert max(errors(cpu.run(*inputs, -100, None, True), exact)) < bound, name


@pytest.mark.parametrize("shape", [(4, 3, 5), (700, 300, 300), (33, 70, 2000)])
@pytest.mark.parametrize("factors", [None, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(
    shape: tuple[int, int, int], factors: torch.dtype | None, restored: None
) -> None:
    inputs = make(*shape)
    results = []
    for number in (1, 2, 3, 7):
        torch.set_num_threads(number)
        results.append(cpu.run(*inputs, -100, factors, True))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_without_gradients_the_loss_has_the_same_bits() -> None:
    inputs = make(50, 20, 300)
    assert torch.equal(cpu.run(*inputs, -100, None, False)[0], cpu.run(*inputs, -100, None, True)[0])


def test_bfloat16_factors_are_rounded_and_sums_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # Imitated where the processor lacks the instructions; an odd H, V and number of rows leave half a pair everywhere.
    monkeypatch.setattr(engine, "library", lambda: Library(FUNCTIONS, "", multiplies_bfloat16=True))
    h, weight, bias, targets = make(61, 27, 131)
    rounded = [(h / 4).bfloat16().float(), (weight / 4).bfloat16().float(), bias]
    loss, *grads = cpu.run(*rounded, targets, -100, torch.bfloat16, True)
    exact = oracle(*rounded, targets)
    # The scores' factors were rounded before, so that the loss has float32's errors only.
    assert errors((loss,), exact[:1])[0] < 1e-6
    # The gradients' other factor, the scores' errors, is off by up to 2^-9, for the bias too: it is the weight of a 1.
    found = errors(tuple(grads), exact[1:])
    assert 1e-5 < min(found)
    assert max(found) < 4e-3


SPREADS = {
    "the target far below": [-100.0, 0.0, 1.0],
    "far above": [100.0, 0.0, 1.0],
    "below by just what is allowed": [-40.0, -0.5, 0.0],
    "large scores": [1e4, 1e4 - 1, 1e4 + 1],
    "impossible words": [0.0, -torch.inf, 1.0],
}


@pytest.mark.parametrize("scores", SPREADS.values(), ids=SPREADS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_scores_far_from_the_targets_lose_no_digit(scores: list[float], dtype: torch.dtype, bound: float) -> None:
    # The scores stand in the bias, among 300 words, and h W^T is 0; another row's target is the last of them.
    bias = torch.full((300,), min(score for score in scores if score > -torch.inf), dtype=dtype)
    bias[7], bias[150], bias[299] = torch.tensor(scores, dtype=dtype)
    column = torch.randn(300, 1, generator=torch.Generator().manual_seed(0), dtype=dtype)
    h, weight = torch.ones(9, 2, dtype=dtype), torch.cat([column, -column], 1)
    targets = torch.full((9,), 7)
    targets[4] = 299
    inputs = (h, weight, bias, targets)
    # Scores and their differences have no roundings here: those of a score of 100 would be 4e-6 of its exponential.
    assert max(errors(cpu.run(*inputs, -100, None, True), oracle(*inputs))) < bound


def test_an_impossible_target_and_impossible_words_give_what_torch_gives() -> None:
    bias = torch.zeros(40)
    bias[3] = -torch.inf
    h, weight, targets = torch.zeros(2, 3), torch.ones(40, 3), torch.tensor([3, 5])
    assert cpu.run(h, weight, bias, targets, -100, None, True)[0] == torch.inf
    assert cpu.run(h, weight, bias.fill_(-torch.inf), targets, -100, None, True)[0].isnan()
    assert cpu.run(h, weight, bias.fill_(torch.inf), targets, -100, None, True)[0].isnan()


def test_calls_at_the_same_time_do_not_meet(restored: None) -> None:
    torch.set_num_threads(1)
    inputs = [make(rows, 30, vocab) for rows, vocab in ((90, 3000), (20, 9000), (300, 500), (90, 3000))]
    alone = [cpu.run(*given, -100, None, True) for given in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            together = pool.map(lambda given: cpu.run(*given, -100, None, True), inputs)
            for got, wanted in zip(together, alone, strict=True):
                assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
