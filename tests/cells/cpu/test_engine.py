"""The C++ engine in what the op's own tests do not see: instruction sets, threads, bfloat16, padding, few rows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from rnnlab.cells import GRU, reference
from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import Library, library
from rnnlab.cells.reference import Weights

CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
FUNCTIONS = library().functions
SETS = [
    name
    for name in ("avx512", "avx2", "portable")
    if FUNCTIONS and not FUNCTIONS.rnnlab_use_instruction_set(name.encode())
]
if FUNCTIONS:
    FUNCTIONS.rnnlab_use_instruction_set(None)

pytestmark = pytest.mark.skipif(FUNCTIONS is None, reason=library().detail)


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every set that this processor and build have, one after the other."""
    assert FUNCTIONS is not None
    FUNCTIONS.rnnlab_use_instruction_set(request.param.encode())
    yield request.param
    FUNCTIONS.rnnlab_use_instruction_set(None)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make_inputs(
    cell: str, steps: int, batch: int, width: int, hidden: int, dtype: torch.dtype
) -> tuple[Tensor, list[Tensor], Weights]:
    generator = torch.Generator().manual_seed(steps * 1000 + batch)

    def draw(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1).to(dtype)

    rows = CELLS[cell] * hidden
    weights = Weights(draw(rows, width) / width**0.5, draw(rows, hidden) / hidden**0.5, draw(rows), draw(rows))
    return draw(steps, batch, width), [draw(batch, hidden) for _ in range(2 if cell == "lstm" else 1)], weights


def run(
    cell: str, x: Tensor, state: list[Tensor], weights: Weights, lengths: Tensor | None = None, reverse: bool = False
) -> list[Tensor]:
    """Return y, the final states and all gradients, for a loss that weighs every output by another number."""
    h_0, c_0 = (*state, None)[:2]
    extras = (lengths, None, None, None, 0.0, 0.0, 0.0, reverse)
    y, h_n, c_n, gates, saved = engine.forward(cell, x, h_0, c_0, *weights, *extras, save=True)
    grad_y, grad_h_n, grad_c_n = (torch.arange(1, t.numel() + 1).view_as(t).sin().to(x.dtype) for t in (y, h_n, c_n))
    grads = engine.backward(
        cell, grad_y, grad_h_n, grad_c_n if c_0 is not None else None, x, h_0, c_0, *weights[:2], y, gates, saved,
        *extras, needs_grad_x=True,
    )  # fmt: skip
    return [tensor for tensor in (y, h_n, c_n, *grads) if tensor.numel() > 0]


def wanted(
    cell: str, x: Tensor, state: list[Tensor], weights: Weights, lengths: Tensor | None, reverse: bool
) -> list[Tensor]:
    """The same by the equations in float64."""
    leaves = [t.double().requires_grad_() for t in (x, *state, *weights)]
    states, rest = tuple(leaves[1 : 1 + len(state)]), Weights(*leaves[1 + len(state) :])
    y, final = reference.run_direction(cell, leaves[0], states, rest, lengths, reverse)
    loss = sum((t * torch.arange(1, t.numel() + 1).view_as(t).sin()).sum() for t in (y, *final))
    return [t.detach() for t in (y, *final, *torch.autograd.grad(loss, leaves))]


def error(got: Tensor, exact: Tensor) -> float:
    return float((got.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("cell", CELLS)
# The last two are summed in more than one block of k: of inputs, and of all steps of all rows.
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (3, 33, 5, 40), (9, 15, 300, 17), (2, 2, 9, 270), (1, 3, 1100, 5), (60, 20, 5, 9)]
)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_every_instruction_set_gives_the_equations_values(
    cell: str, shape: tuple[int, int, int, int], dtype: torch.dtype, bound: float, instruction_set: str
) -> None:
    inputs = make_inputs(cell, *shape, dtype)
    lengths = torch.arange(shape[1]) % (shape[0] + 1) if shape[1] > 1 else None
    for reverse in (False, True):
        exact = wanted(cell, *inputs, lengths, reverse)
        for got, value in zip(run(cell, *inputs, lengths, reverse), exact, strict=True):
            # float64: hundreds of roundings of 1e-16; float32 the same at 6e-8, with a margin for saturated units.
            assert error(got, value) < bound


@pytest.mark.parametrize("cell", CELLS)
def test_rows_without_a_step_leave_everything_as_it_was(cell: str, instruction_set: str) -> None:
    x, state, weights = make_inputs(cell, 4, 3, 6, 20, torch.float32)
    lengths = torch.zeros(3, dtype=torch.int64)
    for got, value in zip(
        run(cell, x, state, weights, lengths), wanted(cell, x, state, weights, lengths, False), strict=True
    ):
        torch.testing.assert_close(got.double(), value)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 21])
def test_the_number_of_threads_changes_no_bit(cell: str, batch: int, threads: None) -> None:
    inputs = make_inputs(cell, 6, batch, 30, 43, torch.float32)
    for lengths in (None, torch.arange(batch) % 7):
        results = []
        for number in (1, 2, 3, 5):
            torch.set_num_threads(number)
            results.append(run(cell, *inputs, lengths))
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_the_same_call_gives_the_same_bits(cell: str, threads: None) -> None:
    torch.set_num_threads(2)
    inputs = make_inputs(cell, 5, 24, 20, 40, torch.float32)
    first = run(cell, *inputs)
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, run(cell, *inputs), strict=True))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_never_read_and_outputs_there_are_zero(cell: str, reverse: bool) -> None:
    x, state, weights = make_inputs(cell, 6, 5, 4, 9, torch.float64)
    lengths = torch.tensor([6, 0, 3, 1, 5])
    padded = torch.arange(6).unsqueeze(1) >= lengths
    clean = run(cell, x.masked_fill(padded.unsqueeze(2), 0.0), state, weights, lengths, reverse)
    dirty = run(cell, x.masked_fill(padded.unsqueeze(2), torch.nan), state, weights, lengths, reverse)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))
    assert torch.all(dirty[0][padded] == 0)
    assert torch.all(dirty[2 if cell != "lstm" else 3][padded] == 0)  # the input's gradient


@pytest.mark.parametrize("cell", CELLS)
def test_nan_in_one_row_stays_in_its_outputs_and_input_gradients(cell: str) -> None:
    x, state, weights = make_inputs(cell, 4, 15, 6, 10, torch.float32)
    clean = run(cell, x, state, weights)
    x[1, 7, 3] = torch.nan
    dirty = run(cell, x, state, weights)
    rows = torch.arange(15) != 7
    grad_x = 2 if cell != "lstm" else 3
    assert torch.equal(clean[0][:, rows], dirty[0][:, rows])
    assert torch.equal(clean[grad_x][:, rows], dirty[grad_x][:, rows])
    assert dirty[0][1:, 7].isnan().all()
    assert dirty[0][0, 7].isfinite().all()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("num_steps", "batch"), [(1, 1), (1, 3), (1, 7), (1, 16), (3, 1), (2, 2)])
@pytest.mark.parametrize("reverse", [False, True])
def test_few_rows_without_packing_give_the_equations_values(
    cell: str, num_steps: int, batch: int, reverse: bool
) -> None:
    x, state, weights = make_inputs(cell, num_steps, batch, 21, 34, torch.float64)
    h_0, c_0 = (*state, None)[:2]
    results = engine.forward(cell, x, h_0, c_0, *weights, None, None, None, None, 0.0, 0.0, 0.0, reverse, save=False)
    exact = wanted(cell, x, state, weights, None, reverse)
    for got, value in zip([t for t in results if t.numel() > 0], exact, strict=False):
        assert error(got, value) < 1e-14


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_factors_round_products_and_nothing_else(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Imitated where the processor lacks the instructions; an odd H and I leave half a pair at the end of every product.
    monkeypatch.setattr(engine, "library", lambda: Library(FUNCTIONS, "", multiplies_bfloat16=True))
    inputs = make_inputs(cell, 5, 15, 27, 41, torch.bfloat16)
    narrow = run(cell, *inputs, torch.arange(15) % 6)
    exact = wanted(cell, *inputs, torch.arange(15) % 6, False)
    for got, value in zip(narrow, exact, strict=True):
        assert got.dtype == torch.bfloat16
        # Each factor and each result is off by up to 2^-9 = 0.002; five steps add up.
        assert 1e-5 < error(got, value) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 300), (50, 20, 513), (9, 20, 1100), (200, 65, 3)])
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_products_of_matrices(
    dtype: torch.dtype, shape: tuple[int, int, int], a_transposed: bool, b_transposed: bool, threads: None
) -> None:
    rows, columns, depth = shape
    a, b, bias = (
        torch.randn(rows, depth, dtype=dtype),
        torch.randn(depth, columns, dtype=dtype),
        torch.randn(columns, dtype=dtype),
    )
    a = a.t().contiguous().t() if a_transposed else a
    b = b.t().contiguous().t() if b_transposed else b
    torch.set_num_threads(2)
    exact = a.double() @ b.double() + bias.double()
    # One rounding of the sum's largest part for each of `depth` additions at most; the sum itself may be near 0.
    parts = a.abs().double() @ b.abs().double() + bias.abs().double()
    off = (engine.multiply(a, b, bias).double() - exact).norm() / parts.norm()
    assert off < torch.finfo(dtype).eps * max(depth, 4)


def test_activations_are_accurate_from_tiny_to_saturated_numbers(instruction_set: str) -> None:
    # With zero weights the bias alone feeds a gate: one step of an RNN is tanh(bias), of a GRU z * h for n = 0.
    points = torch.cat([torch.logspace(-30, 2, 200), -torch.logspace(-30, 2, 200), torch.tensor([0.0])])
    for dtype in (torch.float32, torch.float64):
        x, h_0, bias = torch.zeros(1, 1, 1, dtype=dtype), torch.ones(1, len(points), dtype=dtype), points.to(dtype)
        zero = torch.zeros(len(points), 1, dtype=dtype), torch.zeros(len(points), len(points), dtype=dtype)
        tail = (None, None, None, None, 0.0, 0.0, 0.0, False)
        y = engine.forward("rnn_tanh", x, 0 * h_0, None, *zero, bias, 0 * bias, *tail, save=False)[0].squeeze()
        # A few units in the last place, also near 0, where exp(2x) - 1 would lose all digits.
        torch.testing.assert_close(y, bias.double().tanh().to(dtype), rtol=4 * torch.finfo(dtype).eps, atol=0.0)
        gates = torch.cat([0 * bias, bias, 0 * bias])
        weights = (zero[0].repeat(3, 1), zero[1].repeat(3, 1), gates, 0 * gates)
        y = engine.forward("gru", x, h_0, None, *weights, *tail, save=False)[0].squeeze()
        torch.testing.assert_close(y, bias.double().sigmoid().to(dtype), rtol=8 * torch.finfo(dtype).eps, atol=1e-37)


def test_fewer_threads_than_asked_for_are_enough() -> None:
    program = (
        "import torch; torch.set_num_threads(8)\n"
        "from rnnlab.cells import GRU; layer = GRU(20, 30, backend='cpu'); x = torch.randn(6, 40, 20)\n"
        "y, _ = layer(x); y.square().sum().backward(); torch.set_num_threads(1)\n"
        "assert torch.equal(y, layer(x)[0]); print('done')"
    )
    for limit in ({"OMP_THREAD_LIMIT": "1"}, {"OMP_THREAD_LIMIT": "3"}, {"OMP_DYNAMIC": "true"}):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **limit}, capture_output=True, text=True
        )
        assert done.stdout == "done\n", (limit, done.stderr)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("h_0", torch.zeros(3, 5), "h_0 must be (3, 4) on cpu, got (3, 5) on cpu"),
        ("h_0", torch.zeros(3, 4, device="meta"), "h_0 must be (3, 4) on cpu, got (3, 4) on meta"),
        ("weight_ih", torch.zeros(12, 1), "weight_ih must be (12, 2) on cpu, got (12, 1) on cpu"),
        ("bias_hh", torch.zeros(1), "bias_hh must be (12,) on cpu, got (1,) on cpu"),
        ("lengths", torch.tensor([1, 2]), "lengths must be (3,) on cpu, got (2,) on cpu"),
        ("lengths", torch.tensor([1, 2, 50000]), "lengths must be between 0 and the input's 5 steps, got 50000"),
        ("lengths", torch.tensor([1, 2, -1]), "lengths must be between 0 and the input's 5 steps, got -1"),
    ],
)
def test_arrays_that_do_not_fit_never_reach_the_engine(name: str, value: Tensor, message: str) -> None:
    arguments = {"x": torch.zeros(5, 3, 2), "h_0": torch.zeros(3, 4), "c_0": None}
    arguments |= {"weight_ih": torch.zeros(12, 2), "weight_hh": torch.zeros(12, 4)}
    arguments |= {"bias_ih": torch.zeros(12), "bias_hh": torch.zeros(12), "lengths": None, name: value}
    with pytest.raises(ValueError, match=re.escape(message)):
        engine.forward("gru", *arguments.values(), None, None, None, 0.0, 0.0, 0.0, False, save=True)


def test_a_length_out_of_range_is_refused_under_torch_compile_too() -> None:
    layer = torch.compile(GRU(2, 4, backend="cpu"), backend="aot_eager", fullgraph=True)
    with torch.no_grad(), pytest.raises(ValueError, match="got 50000"):
        layer(torch.zeros(5, 3, 2), lengths=torch.tensor([1, 2, 50000]))


def test_zoneout_keeps_infinity_where_it_is() -> None:
    # The mask chooses; multiplied by 0, infinity would become nan.
    weights = Weights(torch.ones(2, 1), torch.zeros(2, 2))
    keep = torch.tensor([[[True, False]]])
    y = engine.forward(
        "rnn_relu", torch.full((1, 1, 1), torch.inf), torch.ones(1, 2), None, *weights, None, None, keep, None,
        0.0, 0.0, 0.0, False, save=False,
    )[0]  # fmt: skip
    assert y.flatten().tolist() == [1.0, torch.inf]


def test_a_bias_that_must_be_copied_stays_alive_and_misfits_are_refused() -> None:
    a, b, bias = torch.randn(40, 30), torch.randn(30, 50), torch.randn(100)[::2]
    for _ in range(20):
        torch.testing.assert_close(engine.multiply(a, b, bias), a @ b + bias)
    assert torch.equal(engine.multiply(a[:, :0], b[:0], bias), bias.expand(40, 50))
    with pytest.raises(ValueError, match="cannot multiply"):
        engine.multiply(a, b.t())


def test_the_short_way_without_gradients_is_not_taken_under_tracing_or_vmap() -> None:
    layer = GRU(2, 4, backend="cpu", dtype=torch.float64)
    x = torch.randn(5, 3, 2, dtype=torch.float64)
    with torch.no_grad():
        wanted = layer(x)[0]
        rows = torch.func.vmap(lambda row: layer(row.unsqueeze(1))[0].squeeze(1), in_dims=1, out_dims=1)(x)
    torch.testing.assert_close(rows, wanted, rtol=1e-12, atol=1e-13)
