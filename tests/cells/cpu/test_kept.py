"""Packed weights kept between calls: the same numbers as without, and never those of weights that changed."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from rnnlab.cells import GRU, LSTM, RNN, KeptWeights
from rnnlab.cells.cpu import kept as kept_module
from rnnlab.cells.cpu.library import library

pytestmark = pytest.mark.skipif(library().functions is None, reason=library().detail)

LAYERS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}
ROWS = 9  # above the number up to which weights are read as they stand


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry each time weights are packed to be kept."""
    made: list[int] = []
    pack = kept_module.PackedWeights

    def counted(window: object) -> object:
        made.append(1)
        return pack(window)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(kept_module, "PackedWeights", counted)
    return made


def draw(layer: nn.Module, steps: Tensor, kept: KeptWeights | None) -> list[Tensor]:
    """Feed one step a call, the state carried over; returns outputs and final states."""
    outputs, state = [], None
    for step in steps.split(1):
        with torch.no_grad():
            if kept is None:
                y, state = layer(step, state)
            else:
                with kept:
                    y, state = layer(step, state)
        outputs.append(y)
    final = state if isinstance(state, tuple) else (state,)
    return [torch.cat(outputs), *final]


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_kept_weights_change_no_bit_and_are_packed_once_a_layer(
    cell: str, dtype: torch.dtype, bias: bool, packings: list[int]
) -> None:
    layer = LAYERS[cell](11, 37, num_layers=2, bidirectional=True, bias=bias, backend="cpu", dtype=dtype)
    # Two steps a call: there the engine packs in any case, so that both ways form every sum alike.
    steps = torch.randn(2, ROWS, 11, dtype=dtype)
    kept = KeptWeights()
    with torch.no_grad():
        wanted, _ = layer(steps)
        with kept:
            assert torch.equal(layer(steps)[0], wanted)
            assert torch.equal(layer(steps)[0], wanted)
    assert len(packings) == 4  # two layers, two directions


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("rows", [1, 4, ROWS, 70])
def test_token_by_token_gives_the_windows_values(cell: str, rows: int) -> None:
    layer = LAYERS[cell](11, 37, num_layers=2, backend="cpu", dtype=torch.float64)
    steps = torch.randn(6, rows, 11, dtype=torch.float64)
    with torch.no_grad():
        y, state = layer(steps)
    wanted = [y, *(state if isinstance(state, tuple) else (state,))]
    for got, value in zip(draw(layer, steps, KeptWeights()), wanted, strict=True):
        # Sums of 37 products in another order.
        torch.testing.assert_close(got, value, rtol=1e-13, atol=1e-14)


# torch counts no version for what its fused optimizers write.
@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}], ids=["plain", "foreach", "fused"])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_weights_that_changed_are_packed_anew(
    kind: type[torch.optim.Optimizer], options: dict[str, bool], packings: list[int]
) -> None:
    layer, steps, kept = GRU(5, 20, backend="cpu"), torch.randn(3, ROWS, 5), KeptWeights()
    before = draw(layer, steps, kept)
    assert len(packings) == 1
    optimizer = kind(layer.parameters(), lr=0.1, **options)  # pyright: ignore[reportCallIssue]
    layer(steps)[0].sum().backward()
    optimizer.step()
    after = draw(layer, steps, kept)
    assert len(packings) == 2
    assert not torch.equal(before[0], after[0])
    fresh = GRU(5, 20, backend="cpu")
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(after[0], draw(fresh, steps, KeptWeights())[0])


def test_the_memory_of_weights_that_were_converted_is_given_to_no_other() -> None:
    layer, kept = GRU(5, 20, backend="cpu"), KeptWeights()
    addresses = {p.data_ptr() for p in layer.parameters()}
    draw(layer, torch.randn(1, ROWS, 5), kept)
    layer.half().float()  # other memory, with other numbers in it; the layer's own may be free now
    others = [torch.empty_like(p) for p in layer.parameters() for _ in range(8)]
    assert addresses.isdisjoint(tensor.data_ptr() for tensor in [*layer.parameters(), *others])
    fresh = GRU(5, 20, backend="cpu")
    fresh.load_state_dict(layer.state_dict())
    steps = torch.randn(3, ROWS, 5)
    assert torch.equal(draw(layer, steps, kept)[0], draw(fresh, steps, KeptWeights())[0])


def test_calls_with_gradients_or_few_rows_keep_nothing(packings: list[int]) -> None:
    layer = LSTM(5, 20, backend="cpu")
    with KeptWeights():
        y, _ = layer(torch.randn(3, ROWS, 5))
        y.sum().backward()
        with torch.no_grad():
            layer(torch.randn(1, 4, 5))
    assert packings == []


def test_bfloat16_calls_keep_what_they_round(packings: list[int]) -> None:
    layer, x = LSTM(5, 20, backend="cpu"), torch.randn(3, ROWS, 5)
    with KeptWeights(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        first, _ = layer(x)
        again, _ = layer(x)
    assert len(packings) == 1
    assert torch.equal(first, again)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(first, layer(x)[0])


def test_nested_and_finished_contexts_give_way(packings: list[int]) -> None:
    layer, x = GRU(5, 20, backend="cpu"), torch.randn(2, ROWS, 5)
    outer, inner = KeptWeights(), KeptWeights()
    with torch.no_grad():
        with outer:
            layer(x)
            with inner, inner:
                layer(x)
            layer(x)
        layer(x)
    assert len(packings) == 2


def test_memory_is_given_back() -> None:
    layer, kept = GRU(5, 20, backend="cpu"), KeptWeights()
    with torch.no_grad(), kept:
        layer(torch.randn(2, ROWS, 5))
    packed = next(iter(kept._kept.values())).packed
    gone = weakref.finalize(packed, lambda: None)
    del kept, packed
    gc.collect()
    assert not gone.alive


def test_packed_weights_of_another_instruction_set_are_refused() -> None:
    functions = library().functions
    assert functions is not None
    layer, kept, x = GRU(5, 20, backend="cpu"), KeptWeights(), torch.randn(2, ROWS, 5)
    if library().detail == "portable":
        pytest.skip("this processor has one instruction set only")
    try:
        with torch.no_grad(), kept:
            layer(x)
            functions.rnnlab_use_instruction_set(b"portable")
            with pytest.raises(AssertionError, match="another instruction set"):
                layer(x)
    finally:
        functions.rnnlab_use_instruction_set(None)
