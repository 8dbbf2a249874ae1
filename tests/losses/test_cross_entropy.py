"""The op against torch's own loss: values, gradients, autograd's rules, compile, autocast; with and without C++."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from rnnlab.cells.cpu import engine
from rnnlab.losses import chunks, later_times, linear_cross_entropy

Leaves = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(params=["engine", "chunks"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both that may run behind the op on a CPU; the second in several chunks."""
    if request.param == "chunks":
        monkeypatch.setattr(engine, "runs", lambda x: False)
        monkeypatch.setattr(chunks, "_CHUNK_NUMBERS", 100)
    elif not engine.runs(torch.zeros(1)):
        pytest.skip("the C++ engine is not built")
    return request.param


def make(rows: int, hidden: int, vocab: int, dtype: torch.dtype = torch.float64) -> tuple[Leaves, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    draws = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in
             ((rows, hidden), (vocab, hidden), (vocab,)))  # fmt: skip
    h, weight, bias = (draw.to(dtype).requires_grad_() for draw in draws)
    targets = torch.randint(vocab, (rows,), generator=generator)
    targets[1::3] = -100
    return (h, weight, bias), targets


def oracle(leaves: Leaves, targets: Tensor) -> list[Tensor]:
    """Loss and gradients by torch, in float64."""
    h, weight, bias = (leaf.detach().double().requires_grad_() for leaf in leaves)
    loss = cross_entropy(linear(h, weight, bias), targets, reduction="sum")
    return [loss.detach(), *torch.autograd.grad(loss, (h, weight, bias))]


def error(got: Tensor, exact: Tensor) -> float:
    return float((got.detach().double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("shape", [(1, 1, 2), (7, 33, 50), (40, 20, 101), (300, 270, 33), (5, 3, 1000)])
# float64: some hundred roundings of 1e-16. float32: of 6e-8.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
def test_loss_and_gradients_are_torchs(shape: tuple[int, int, int], dtype: torch.dtype, bound: float) -> None:
    leaves, targets = make(*shape, dtype)
    loss = linear_cross_entropy(*leaves, targets)
    assert loss.dtype == dtype
    for got, exact in zip([loss, *torch.autograd.grad(loss, leaves)], oracle(leaves, targets), strict=True):
        assert error(got, exact) < bound
    with torch.no_grad():
        assert torch.equal(linear_cross_entropy(*leaves, targets), loss)


def test_large_logits_neither_overflow_nor_lose_the_small_shares() -> None:
    h, targets = torch.ones(2, 1, dtype=torch.float64, requires_grad=True), torch.tensor([0, 2])
    weight = torch.tensor([[1e4], [1e4 - 20], [-1e4]], dtype=torch.float64, requires_grad=True)
    loss = linear_cross_entropy(h, weight, None, targets)
    loss.backward()
    small = torch.tensor(-20.0, dtype=torch.float64).exp()
    torch.testing.assert_close(loss.detach(), 2e4 + 2 * small, rtol=1e-15, atol=0.0)
    # 2e-9 beside a share of 1: relative to itself, that is what a share computed as exp(x) - 1 + 1 would lose.
    torch.testing.assert_close(weight.grad[1], (2 * small / (1 + small)).view(1), rtol=1e-12, atol=0.0)


def test_rows_without_a_target_may_hold_anything_and_get_no_gradient() -> None:
    (h, weight, bias), targets = make(7, 5, 11)
    with torch.no_grad():
        h[targets == -100] = torch.nan
    linear_cross_entropy(h, weight, bias, targets).backward()
    assert torch.all(h.grad[targets == -100] == 0)
    clean = oracle((h.detach().nan_to_num(), weight, bias), targets)
    assert error(weight.grad, clean[2]) < 1e-14


def test_no_row_with_a_target_and_no_row_at_all_give_zero() -> None:
    for rows in (3, 0):
        (h, weight, bias), targets = make(rows, 4, 6)
        loss = linear_cross_entropy(h, weight, bias, torch.full_like(targets, 7), ignore_index=7)
        assert float(loss.detach()) == 0
        assert all(torch.all(g == 0) for g in torch.autograd.grad(loss, (h, weight, bias)))


def test_one_state_without_other_dimensions_is_one_row() -> None:
    (h, weight, bias), targets = make(1, 5, 7)
    loss = linear_cross_entropy(h[0], weight, bias, targets[0])
    assert torch.equal(loss, linear_cross_entropy(h, weight, bias, targets))
    assert torch.autograd.grad(loss, h)[0].shape == h.shape


def test_nan_in_a_row_reaches_the_loss() -> None:
    (h, weight, bias), targets = make(4, 5, 40, torch.float32)
    with torch.no_grad():
        h[0, 0] = torch.nan
    assert linear_cross_entropy(h, weight, bias, targets).isnan()


def test_gradcheck_and_opcheck_hold() -> None:
    leaves, targets = make(5, 4, 9)
    assert torch.autograd.gradcheck(lambda *x: linear_cross_entropy(*x, targets) * 0.7, leaves)
    op = torch.ops.rnnlab.linear_cross_entropy
    for factors, save in ((None, True), (torch.bfloat16, True), (None, False)):
        given = [leaf.detach().float().requires_grad_(save) for leaf in leaves]
        # Only the loss may be differentiated, so autograd's own check with gradients of all outputs is left out.
        tests = ("test_schema", "test_faketensor", "test_autograd_registration")
        torch.library.opcheck(op, (*given, targets, -100, factors, save, 0.5), test_utils=tests)


def test_torch_compile_traces_loss_and_gradients_in_one_graph() -> None:
    leaves, targets = make(6, 5, 12)
    compiled = torch.compile(lambda *x: linear_cross_entropy(*x) / 4, backend="aot_eager", fullgraph=True)
    loss = compiled(*leaves, targets)
    for got, exact in zip([loss * 4, *torch.autograd.grad(loss * 4, leaves)], oracle(leaves, targets), strict=True):
        assert error(got, exact) < 1e-14


@pytest.mark.parametrize("came", [1 / 7, 0.25, -3.0, 0.0])
@pytest.mark.parametrize("foreseen", [1 / 7, 1.0, 0.0, math.inf])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_gradients_are_right_whichever_factor_was_foreseen(
    came: float, foreseen: float, dtype: torch.dtype, bound: float
) -> None:
    leaves, targets = make(6, 5, 12)
    exact = [grad * came for grad in oracle(leaves, targets)[1:]]
    leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in leaves]
    with later_times(foreseen):
        nats = linear_cross_entropy(*leaves, targets)
    assert error(nats, oracle(leaves, targets)[0]) < bound  # the sum itself is not multiplied
    loss = nats * came
    for keep in (True, False):
        for got, grad in zip(torch.autograd.grad(loss, leaves, retain_graph=keep), exact, strict=True):
            assert error(got, grad) < bound if came else not got.any()


def test_a_graph_that_is_kept_gives_the_same_gradients_again_and_one_that_is_not_refuses() -> None:
    leaves, targets = make(6, 5, 12)
    loss = linear_cross_entropy(*leaves, targets) * 3
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    kept = [grad.clone() for grad in first]
    for grad in first:
        grad.zero_()  # as an optimizer or clipping may
    second = torch.autograd.grad(loss, leaves)
    assert all(torch.equal(a, b) for a, b in zip(kept, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_gradients_of_two_calls_add_up() -> None:
    leaves, targets = make(6, 5, 12)
    for _ in range(2):
        (linear_cross_entropy(*leaves, targets) / 2).backward()
    for leaf, exact in zip(leaves, oracle(leaves, targets)[1:], strict=True):
        assert error(leaf.grad, exact) < 1e-14


def test_many_gradients_may_be_asked_for_at_once() -> None:
    leaves, targets = make(6, 5, 12)
    factors = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    loss = linear_cross_entropy(*leaves, targets)
    at_once = torch.autograd.grad(loss, leaves, factors, is_grads_batched=True)
    for got, exact in zip(at_once, oracle(leaves, targets)[1:], strict=True):
        for one, factor in zip(got, factors, strict=True):
            assert error(one, factor * exact) < 1e-14


def test_only_what_asks_for_a_gradient_gets_one() -> None:
    (h, weight, bias), targets = make(6, 5, 12)
    linear_cross_entropy(h.detach(), weight, bias.detach(), targets).backward()
    assert weight.grad is not None
    assert h.grad is None
    assert bias.grad is None


def test_a_second_derivative_is_refused() -> None:
    leaves, targets = make(4, 3, 5)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(linear_cross_entropy(*leaves, targets), leaves, create_graph=True)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, in its first jvp
def test_forward_mode_is_refused_and_not_forgotten() -> None:
    (h, weight, _), targets = make(4, 3, 5)
    with pytest.raises(NotImplementedError, match="no forward-mode differentiation"):
        torch.func.jvp(lambda x: linear_cross_entropy(x, weight.detach(), None, targets), (h.detach(),), (h.detach(),))
    with pytest.raises(NotImplementedError, match=r"no torch\.func\.grad; use torch's linear and cross_entropy"):
        torch.func.grad(lambda x: linear_cross_entropy(x, weight.detach(), None, targets))(h.detach())


def test_autocast_rounds_the_factors_and_nothing_else() -> None:
    (h, weight, bias), targets = make(60, 40, 90, torch.float32)
    h = (h * 0.2).detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(h.bfloat16(), weight, bias, targets)
    assert loss.dtype == torch.float32
    exact = oracle((h, weight, bias), targets)
    # 2400 products, each off by 2^-9 at most and in both directions: the loss is far nearer than one of them.
    assert 0 < error(loss, exact[0]) < 1e-3
    for got, want in zip(torch.autograd.grad(loss, (h, weight, bias)), exact[1:], strict=True):
        assert 1e-5 < error(got, want) < 0.02
        assert got.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": torch.tensor([0, 4])}, "targets must be from 0 to 3, or ignore_index=-100, got 4"),
        ({"targets": torch.tensor([-1, 3])}, "targets must be from 0 to 3, or ignore_index=-100, got -1"),
        # Read as int64, half of the targets would stand behind the end of the tensor.
        ({"targets": torch.tensor([0, 1], dtype=torch.int32)}, "targets must be int64, got torch.int32; use"),
        ({"targets": torch.tensor([0, 1], dtype=torch.uint8)}, "targets must be int64, got torch.uint8; use"),
        ({"targets": torch.tensor([0.0, 1.0])}, "targets must be int64, got torch.float32; use targets.long()"),
        ({"targets": torch.tensor([0])}, "wanted h (..., H), weight (V, H) and targets (...), got (2, 3), (4, 3) and"),
        ({"weight": torch.zeros(4, 2)}, "wanted h (..., H), weight (V, H) and targets (...), got (2, 3), (4, 2) and"),
        ({"bias": torch.zeros(3)}, "bias must be (4,) for these weights, got (3,)"),
        ({"h": torch.zeros(2, 3).double()}, "one dtype outside autocast, got torch.float64 and torch.float32"),
    ],
)
def test_misfits_are_refused_with_one_line(changes: dict[str, Tensor], message: str) -> None:
    arguments = {"h": torch.zeros(2, 3), "weight": torch.zeros(4, 3), "bias": torch.zeros(4)}
    arguments |= {"targets": torch.tensor([0, 1])} | changes
    with pytest.raises(ValueError, match=re.escape(message)):
        linear_cross_entropy(**arguments)
