"""Check and time the Triton kernels on a GPU: `python scripts/gpu_check.py`, eight minutes at most on an H100.

Correctness first (every cell, mode, dtype and extra against float64 on the CPU, and 20 repeats that agree bit for bit),
then times against cuDNN through torch.nn, then block sizes. Each case is caught for itself: an error is a row. All of
it goes to outputs/gpu_check.json (or --out FILE), the short form to the screen. `--seconds N` shrinks or stretches it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnlab.cells import reference, torch_backend
from rnnlab.cells import triton as engine
from rnnlab.cells.extras import Extras
from rnnlab.cells.gates import GATES
from rnnlab.cells.reference import States, Weights
from rnnlab.cells.triton.plan import cut, overridden, padded_size

DEVICE = "cuda"
CELLS = {"rnn_tanh": nn.RNN, "rnn_relu": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
# name -> dtype, torch.set_float32_matmul_precision, largest relative error against float64
PRECISIONS = {
    "float32": (torch.float32, "highest", 1e-5),
    "tf32": (torch.float32, "high", 1e-3),
    "bfloat16": (torch.bfloat16, "highest", 1e-2),
    "float16": (torch.float16, "highest", 2e-3),
}
# B, T, H
SHAPES = [(32, 35, 650), (20, 70, 1150), (64, 256, 256), (64, 100, 512), (64, 100, 1024), (32, 100, 128)]
SHARES = {"compile": 0.25, "correctness": 0.25, "times": 0.35, "blocks": 0.15}
PASSES = (False, True)
WITH_EXTRAS = ("float32", "bfloat16")
LIMIT = 0.5  # of the state's gradient; some exceed it
# What a case with extras switches on: under the names of `offline.compile_pass`, and whether gates are computed anew.
EXTRAS = {
    "masks": (("recurrent_dropout", "zoneout", "clip_state_grad"), False),
    "shares": (("zoneout_share", "clip_state_grad"), True),
}


class Blocks(NamedTuple):
    """A plan to time: fields of `rnnlab.cells.triton.plan.Plan`; tests compile each for an H100 without spills."""

    backward: bool
    hidden_size: int
    batch: int
    changes: dict[str, Any]


# bfloat16 LSTM. tests/scripts/test_gpu_check.py proves them free of spills.
BLOCKS = [
    Blocks(False, 650, 32, {"block_batch": 16}),
    Blocks(False, 650, 32, {"num_warps": 4}),
    Blocks(False, 650, 32, {"chunks": cut(656, 128)}),
    Blocks(False, 650, 32, {"block_units": 32}),
    Blocks(False, 512, 64, {"num_warps": 4}),
    Blocks(False, 512, 64, {"block_units": 32}),
    Blocks(True, 650, 32, {"block_batch": 16}),
    Blocks(True, 650, 32, {"chunks": cut(656, 64)}),
    Blocks(True, 512, 64, {"chunks": cut(512, 64)}),
    Blocks(True, 512, 64, {"chunks": cut(512, 256)}),
]


class Clock:
    """How much of its share of the time a section has left."""

    def __init__(self, seconds: float) -> None:
        """Start with so many seconds."""
        self.end = time.monotonic() + seconds

    def is_over(self) -> bool:
        """Whether no further case may start."""
        return time.monotonic() > self.end


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check and time rnnlab's Triton kernels on this machine's GPU.")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_check.json"), help="where the JSON goes")
    parser.add_argument("--seconds", type=float, default=450.0, help="time for everything, default 450")
    options = parser.parse_args(argv)
    reason = engine.why_unavailable()
    if reason is not None or not torch.cuda.is_available():
        print(f"gpu_check {reason or 'needs a CUDA device'}; nothing was checked", file=sys.stderr)
        return 1
    report: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    sections: dict[str, Callable[[Clock], list[dict[str, Any]]]] = {
        "compile": compile_ahead,
        "correctness": check_correctness,
        "times": time_against_cudnn,
        "blocks": time_blocks,
    }
    for name, section in sections.items():
        start = time.monotonic()
        report[name] = section(Clock(SHARES[name] * options.seconds))
        print(f"{name}: {len(report[name])} cases in {time.monotonic() - start:.0f} s", flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    wrong = [row for row in report["correctness"] if not row.get("ok")]
    print(f"{report['gpu']}: {len(wrong)} of {len(report['correctness'])} checks failed; {options.out}")
    return 2 if wrong else 0


def run_cases(cases: Iterable[dict[str, Any]], clock: Clock, measure: Callable[..., dict[str, Any]]) -> list[dict]:
    """Measure case by case until the time is over; an error becomes the case's result."""
    rows = []
    for case in cases:
        if clock.is_over():
            rows.append({**case, "skipped": "out of time"})
            continue
        try:
            row = {**case, **measure(**case)}
        except Exception as error:
            row = {**case, "error": f"{type(error).__name__}: {error}"[:300]}
        rows.append(row)
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()), flush=True)
    return rows


# ------------------------------------------------------------------------------------------------------- compile


def compile_ahead(clock: Clock) -> list[dict[str, Any]]:
    """Fill triton's cache with all processors at work; what is not done in time compiles at its first use."""
    major, minor = torch.cuda.get_device_capability()
    cases = [(*case, major * 10 + minor) for case in all_kernels()]
    pool = ProcessPoolExecutor(min(os.cpu_count() or 1, len(cases)), mp_context=multiprocessing.get_context("spawn"))
    futures = [pool.submit(compile_one, *case) for case in cases]
    done, _ = wait(futures, timeout=max(1.0, clock.end - time.monotonic()))
    pool.shutdown(wait=False, cancel_futures=True)
    errors = [future.exception() for future in done]
    return [{"kernels": len(cases), "compiled": len(done), "errors": [str(e)[:200] for e in errors if e is not None]}]


def all_kernels() -> Iterator[tuple[str, int, int, str, bool, bool, tuple[str, ...]]]:
    """Cell, H, B, precision, pass, lengths or not, and extras, of everything below, the first needed first."""
    for cell in ("lstm", "gru", "rnn"):
        for precision in PRECISIONS:
            for hidden_size in (96, 200):
                for backward in PASSES:
                    yield cell, hidden_size, 20, precision, backward, True, ()
                    if precision in WITH_EXTRAS:
                        for extras, _ in EXTRAS.values():
                            yield cell, hidden_size, 20, precision, backward, True, extras
    for precision in ("bfloat16", "tf32", "float32", "float16"):
        for batch, _, hidden_size in SHAPES:
            for cell in ("lstm", "gru", "rnn"):
                for backward in PASSES:
                    yield cell, hidden_size, batch, precision, backward, False, ()


def compile_one(
    cell: str,
    hidden_size: int,
    batch: int,
    precision: str,
    backward: bool,
    with_lengths: bool,
    extras: tuple[str, ...],
    capability: int,
) -> None:
    """Compile one kernel into the cache, in a process that never touches the GPU."""
    from rnnlab.cells.triton.offline import compile_pass

    dtype, matmul, _ = PRECISIONS[precision]
    torch.set_float32_matmul_precision(matmul)
    options: dict[str, Any] = {"with_lengths": with_lengths, "capability": capability, "analyse": False}
    compile_pass(cell, hidden_size, batch, dtype, backward=backward, extras=extras, **options)


# --------------------------------------------------------------------------------------------------- correctness


def check_correctness(clock: Clock) -> list[dict[str, Any]]:
    """Outputs, final states and every gradient against float64, by relative norm; 20 repeats must agree."""
    cases = [
        {"cell": cell, "precision": precision, "hidden_size": hidden_size, "mode": mode, "reverse": reverse}
        for cell in CELLS
        for precision in PRECISIONS
        for hidden_size, mode in ((96, None), (200, None), (200, "step"))
        for reverse in ((False, True) if mode is None else (False,))
    ]
    cases += [
        {"cell": cell, "precision": precision, "hidden_size": size, "mode": mode, "reverse": True, "extras": extras}
        for cell in CELLS
        for precision in WITH_EXTRAS
        for size, mode in ((96, None), (200, None), (200, "step"))
        for extras in EXTRAS
    ]
    return run_cases(cases, clock, check_one)


def check_one(
    cell: str, precision: str, hidden_size: int, mode: str | None, reverse: bool, extras: str | None = None
) -> dict[str, Any]:
    """Compare one case: 24 steps of 20 rows with lengths from 0 to 24. Extras have no counterpart in cuDNN."""
    dtype, _, allowed = PRECISIONS[precision]
    generator = torch.Generator().manual_seed(0)
    leaves = make_leaves(cell, 24, 20, hidden_size, dtype, generator)
    lengths = torch.randint(0, 25, (20,), generator=generator)
    given = make_extras(extras, cell, 24, 20, hidden_size, generator)
    wide = [t.double() for t in leaves]
    exact = gradients(reference.run_direction, cell, wide, lengths, reverse, *on(given, "cpu", torch.double))
    there, lengths, given = [t.to(DEVICE) for t in leaves], lengths.to(DEVICE), on(given, DEVICE, dtype)
    changes = {} if mode is None else {"mode": mode}
    with precise(precision), overridden(**changes):
        ours = gradients(engine.run_direction, cell, there, lengths, reverse, *given)
        agree = all(
            all(torch.equal(a, b) for a, b in zip(ours, again, strict=True))
            for again in (gradients(engine.run_direction, cell, there, lengths, reverse, *given) for _ in range(20))
        )
        cudnn = None if given else gradients(torch_backend.run_direction, cell, there, lengths, reverse)
    from rnnlab.cells.triton.launch import failure_flag

    gave_up = bool(failure_flag(ours[0].device).item())
    worst = max(map(relative_error, ours, exact))
    theirs = 0.0 if cudnn is None else max(map(relative_error, cudnn, exact))
    ok = worst < max(allowed, 1.5 * theirs) and agree and not gave_up
    compared = {} if cudnn is None else {"cudnn_error": theirs}
    return {"error": worst, **compared, "repeats_agree": agree, "gave_up": gave_up, "ok": ok}


def make_extras(
    name: str | None, cell: str, num_steps: int, batch: int, hidden_size: int, generator: torch.Generator
) -> list[Extras]:
    """Draw the extras of a case, one of `EXTRAS`; none if it has none."""
    if name is None:
        return []
    names, recompute = EXTRAS[name]
    states, shape = 2 if cell == "lstm" else 1, (num_steps, batch, hidden_size)
    zoneout: tuple[Tensor | float, ...] = (0.25, 0.5)[:states]
    if "zoneout" in names:
        zoneout = tuple(torch.rand(shape, generator=generator) < 0.25 for _ in range(states))
    # Half of the units drop out: the factor of the others is 2, a number of every width.
    mask = (torch.rand(shape[1:], generator=generator) < 0.5) * 2.0 if "recurrent_dropout" in names else None
    return [Extras(mask, zoneout, clip_state_grad=LIMIT, recompute=recompute)]


def on(drawn: list[Extras], device: str, dtype: torch.dtype) -> list[Extras]:
    """Bring masks to a device and the factors of dropout into a width."""
    moved = []
    for extras in drawn:
        mask = None if extras.recurrent_mask is None else extras.recurrent_mask.to(device, dtype)
        zoneout = tuple(keep.to(device) if isinstance(keep, Tensor) else keep for keep in extras.zoneout or ())
        moved.append(extras._replace(recurrent_mask=mask, zoneout=zoneout))
    return moved


def make_leaves(
    cell: str, num_steps: int, batch: int, hidden_size: int, dtype: torch.dtype, generator: torch.Generator
) -> list[Tensor]:
    """x, states, weight_ih, weight_hh, bias_ih, bias_hh, drawn as torch.nn draws weights."""

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.rand(*shape, generator=generator) * 2 - 1).mul(scale).to(dtype)

    rows, scale = len(GATES[cell]) * hidden_size, hidden_size**-0.5
    states = [draw(batch, hidden_size) for _ in range(2 if cell == "lstm" else 1)]
    weights = [
        draw(rows, 64, scale=scale),
        draw(rows, hidden_size, scale=scale),
        *(draw(rows, scale=scale) for _ in "ih"),
    ]
    return [draw(num_steps, batch, 64), *states, *weights]


def gradients(
    run: Any, cell: str, values: list[Tensor], lengths: Tensor, reverse: bool, *extras: Extras
) -> list[Tensor]:
    """Outputs, final states, and the gradient of a loss on all of them for every leaf."""
    leaves = [value.detach().requires_grad_() for value in values]
    x, states, weights = leaves[0], tuple(leaves[1:-4]), Weights(*leaves[-4:])
    y, final = run(cell, x, states, weights, lengths, reverse, *extras)
    outputs = [y, *final]
    weightings = [torch.arange(out.numel()).sin().view(out.shape).to(out) for out in outputs]
    return [out.detach() for out in outputs] + list(torch.autograd.grad(outputs, leaves, weightings))


def relative_error(value: Tensor, exact: Tensor) -> float:
    value = value.cpu().double()
    if not value.isfinite().all():
        return float("inf")
    return float((value - exact).norm() / exact.norm().clamp(min=1e-30))


@contextmanager
def precise(precision: str) -> Iterator[None]:
    """Multiply float32 as the case says, here and in cuDNN."""
    _, matmul, _ = PRECISIONS[precision]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(matmul)
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=precision == "tf32"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


# --------------------------------------------------------------------------------------------------------- times


def time_against_cudnn(clock: Clock) -> list[dict[str, Any]]:
    """A training step and a forward pass of a stack, ours and torch.nn's; the most telling cases first."""
    cases = [
        {"cell": cell, "precision": precision, "shape": shape, "num_layers": num_layers, "packed": packed}
        for num_layers, packed in ((1, False), (1, True), (2, False), (3, False))
        for precision in ("bfloat16", "tf32", "float16", "float32")
        for cell in ("lstm", "gru", "rnn_tanh")
        for shape in SHAPES
    ]
    return run_cases(cases, clock, time_one)


def time_one(cell: str, precision: str, shape: tuple[int, int, int], num_layers: int, packed: bool) -> dict[str, Any]:
    """Time one stack both ways, medians in ms, as the host starts them and as a captured graph."""
    batch, num_steps, hidden_size = shape
    dtype, _, _ = PRECISIONS[precision]
    torch.manual_seed(0)
    layer = CELLS[cell](hidden_size, hidden_size, num_layers).to(DEVICE, dtype)
    x = torch.randn(num_steps, batch, hidden_size, device=DEVICE, dtype=dtype, requires_grad=True)
    lengths = torch.linspace(num_steps, 1, batch).long() if packed else None
    runs = {"ours": our_stack(cell, layer, x, lengths), "cudnn": cudnn_stack(layer, x, lengths)}
    leaves, row = [x, *layer.parameters()], {}
    grad = None
    with precise(precision):
        for name, run in runs.items():
            grad = torch.randn_like(run()) if grad is None or packed else grad

            def train(run: Callable[[], Tensor] = run, grad: Tensor = grad) -> None:
                torch.autograd.grad(run(), leaves, grad)

            def infer(run: Callable[[], Tensor] = run) -> None:
                with torch.no_grad():
                    run()

            row |= {f"{name}_train": median_ms(train), f"{name}_forward": median_ms(infer)}
            if not packed:  # packing reads lengths on the host, which no graph can hold
                row |= {f"{name}_train_graph": graph_ms(train)}
    row["cudnn_over_ours"] = row["cudnn_train"] / row["ours_train"]
    return row | {"us_per_step_forward": 1000 * row["ours_forward"] / num_steps / num_layers}


def our_stack(cell: str, layer: nn.RNNBase, x: Tensor, lengths: Tensor | None) -> Callable[[], Tensor]:
    """Run torch.nn's parameters through the kernels, layer by layer."""
    zeros: States = (x.new_zeros(x.shape[1], layer.hidden_size),) * (2 if cell == "lstm" else 1)
    rows = None if lengths is None else lengths.to(DEVICE)

    def run() -> Tensor:
        y = x
        for number in range(layer.num_layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = Weights(*(getattr(layer, f"{name}_l{number}") for name in names))
            y, _ = engine.run_direction(cell, y, zeros, weights, rows, False)
        return y

    return run


def cudnn_stack(layer: nn.RNNBase, x: Tensor, lengths: Tensor | None) -> Callable[[], Tensor]:
    """Run torch.nn's layer, on a PackedSequence where rows have lengths."""

    def run() -> Tensor:
        if lengths is None:
            return layer(x)[0]
        return layer(pack_padded_sequence(x, lengths))[0].data

    return run


def captured(call: Callable[[], None]) -> Callable[[], None]:
    """Capture a CUDA graph of a call that has run before."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def graph_ms(call: Callable[[], None]) -> float | str:
    """Median time of a captured call, ms, or why it could not be captured: that spoils no other time."""
    try:
        return median_ms(captured(call))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]


def median_ms(call: Callable[[], None], repeats: int = 15) -> float:
    """Median time of a call on the device, ms, after two to warm up."""
    for _ in range(2):
        call()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


# -------------------------------------------------------------------------------------------------------- blocks


def time_blocks(clock: Clock) -> list[dict[str, Any]]:
    """Times of the LSTM in bfloat16 with other block sizes than the plan's."""
    cases: list[dict[str, Any]] = []
    for hidden_size, batch in sorted({(blocks.hidden_size, blocks.batch) for blocks in BLOCKS}):
        cases += [
            {"backward": backward, "hidden_size": hidden_size, "batch": batch, "changes": {}} for backward in PASSES
        ]
    cases += [blocks._asdict() for blocks in BLOCKS]
    return run_cases(cases, clock, time_blocks_of_one)


def time_blocks_of_one(backward: bool, hidden_size: int, batch: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Time one pass of 100 steps with the given fields of the plan set, us a step."""
    from rnnlab.cells.triton import passes
    from rnnlab.cells.triton.settings import Settings

    size, num_steps = padded_size(hidden_size), 100

    def draw(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return torch.randn(*shape, device=DEVICE).mul_(0.05).to(dtype)

    x, state, y = draw(num_steps, batch, 64), draw(1, batch, hidden_size), draw(num_steps, batch, hidden_size)
    weights = draw(1, 4 * hidden_size, 64), draw(1, 4 * hidden_size, hidden_size)
    bias = draw(1, 4 * hidden_size)
    gates = draw(num_steps, batch, 1, 4, size, dtype=torch.float32)
    kept = gates, gates[:, :, :, 0].contiguous()

    def call() -> None:
        with overridden(**changes):
            if backward:
                passes.lstm_backward(
                    y, None, None, x, state, state, *weights, None, None, y, *kept, Settings(), False, True
                )
            else:
                passes.lstm_forward(x, state, state, *weights, bias, bias, Settings(), True, False)

    call()
    return {"us_per_step": 1000 * median_ms(captured(call)) / num_steps}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
