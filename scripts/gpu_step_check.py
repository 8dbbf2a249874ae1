"""Check rnnlab's training step on a GPU: the CPU's losses, no wait for the device, nothing non-finite in a weight.

    python scripts/gpu_step_check.py [--graph] [--json FILE]

For each task a small model makes the same steps on both devices. On the GPU, torch is told to raise an error at every
wait (`set_sync_debug_mode`) once some first steps have built what is built once. Then a loss is spoiled on purpose:
weights must stay, and the error must name the step. `--device cpu` tries the script itself where there is no GPU.

`--graph` asks more: with `trainer.cuda_graph=true` the same losses to the last bit as the same steps one by one, masks
and a rate that changes included; no change of a weight at rate 0 or where a number is not finite; then times of both.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rnnlab.benchmarks.steps.cases import CASES, TrainCase
from rnnlab.benchmarks.steps.feed import Feed, given_task, make_feed, settings
from rnnlab.config import CosineConfig
from rnnlab.errors import DivergedError
from rnnlab.training import graphs
from rnnlab.training.alone import Alone
from rnnlab.training.graphs import Graphs
from rnnlab.training.recorder import Recorder
from rnnlab.training.state import TrainingState

WARM_UP_STEPS = 3
STEPS = 20
GRAPH_STEPS = 20  # of each window, and of each round that is timed
LIMIT = 5  # trainer.max_skipped's default
TOLERANCE = 1e-3  # relative, of float32 losses over some steps; TF32 is off


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check rnnlab's training step on a GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--cases", default="ptb_650,sentiment_gru,music_lstm", help="default: %(default)s")
    parser.add_argument("--graph", action="store_true", help="check steps as CUDA graphs, too, and time them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    device = torch.device((options := parser.parse_args(argv)).device)
    if options.graph and device.type != "cuda":
        parser.error("--graph needs --device cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu_step_check needs a CUDA device; nothing was checked", file=sys.stderr)
        return 1
    torch.backends.cuda.matmul.allow_tf32 = False
    rows: list[dict[str, Any]] = []
    for name in options.cases.split(","):
        case = replace(CASES[name], vocab_size=500, embedding_size=64, hidden_size=64)
        row: dict[str, Any] = {"case": name, "device": str(device)}
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            row["problems"] = check(case, device)
            if options.graph:
                problems, row["graph"] = check_graph(case, device)
                row["problems"] += problems
        rows.append(row)
        for problem in row["problems"] or ["ok"]:
            print(f"{name} on {device}: {problem}", flush=True)
        if options.graph:
            print(f"{name} on {device}: {json.dumps(row['graph'])}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 2 if any(row["problems"] for row in rows) else 0


def check(case: TrainCase, device: torch.device) -> list[str]:
    """Return what is wrong with a case on a device, one line each."""
    feed = make_feed(case, "synthetic")
    problems = []
    expected, _ = losses(case, feed, torch.device("cpu"))
    try:
        found, state = losses(case, feed, device)
    except RuntimeError as error:  # a wait, if torch was told to refuse it
        return [f"a step failed: {str(error).splitlines()[0]}"]
    worst = max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
    if not worst <= TOLERANCE:
        problems.append(f"losses are {worst:.1e} away from the CPU's, wanted at most {TOLERANCE:.0e}")
    return problems + check_divergence(state)


def losses(case: TrainCase, feed: Feed, device: torch.device) -> tuple[list[float], TrainingState]:
    """Train some steps, the last of them without a wait; return the loss of each window."""
    config = settings(case)
    task = given_task(case, feed)
    torch.manual_seed(1)
    model = task.build_model(config.model).to(device)
    state = TrainingState(task, model, config, device, Alone())
    windows = task.train_windows(0)
    kept: list[torch.Tensor] = []
    nats = task.nats

    def keep(*arguments: Any) -> torch.Tensor:
        kept.append(nats(*arguments))
        return kept[-1]

    setattr(task, "nats", keep)  # noqa: B010 - whatever its arguments are
    for index in range(WARM_UP_STEPS):
        state.steps.make([windows[index % len(windows)]], state.counters)
    with no_waits(device):
        for index in range(WARM_UP_STEPS, STEPS):
            state.steps.make([windows[index % len(windows)]], state.counters)
    state.steps.readings.read(state.counters)
    task.nats = nats
    return [float(loss.detach()) for loss in kept], state


def check_divergence(state: TrainingState) -> list[str]:
    """Spoil losses; return what is wrong with what follows."""
    task, window = state.task, state.task.train_windows(0)[0]
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    nats, step = task.nats, state.counters.step
    try:
        setattr(task, "nats", lambda *arguments: nats(*arguments) * math.nan)  # noqa: B010
        for _ in range(LIMIT):
            state.steps.make([window], state.counters)
        state.steps.readings.read(state.counters)
        problems = ["losses of nan ended nothing"]
    except DivergedError as error:
        wanted = f"at step {step + LIMIT - 1} "
        problems = [] if wanted in str(error) else [f"the error does not say {wanted!r}: {error}"]
    finally:
        task.nats = nats
    if any(not one.equal(other) for one, other in zip(before, state.model.parameters(), strict=True)):
        problems.append("a loss of nan changed a weight")
    return problems


def check_graph(
    case: TrainCase, device: torch.device, recorder: Recorder | None = None
) -> tuple[list[str], dict[str, Any]]:
    """Hold steps as graphs against the same steps one by one; return what is wrong, and what was measured."""
    feed = make_feed(case, "synthetic")
    one_by_one, _ = graph_losses(case, feed, device, recorder, most_graphs=0)
    replayed, state = graph_losses(case, feed, device, recorder)
    assert state.steps._graphs is not None
    found: dict[str, Any] = {"graphs": len(state.steps._graphs._recorded), "steps": len(replayed)}
    problems = [] if found["graphs"] else ["no step became a graph"]
    if replayed != one_by_one:
        worst = max(abs(a - b) / b for a, b in zip(replayed, one_by_one, strict=True))
        problems.append(f"losses of graphs are {worst:.1e} away from those of the same steps one by one, wanted 0")
    problems += check_weights_stay(state)
    plain = training_state(case, feed, device)
    times = {name: step_ms(one) for name, one in {"plain": plain, "graph": state}.items()}
    return problems, found | {"plain_ms": times["plain"], "graph_ms": times["graph"]}


def graph_losses(
    case: TrainCase, feed: Feed, device: torch.device, recorder: Recorder | None, most_graphs: int = graphs.MOST_GRAPHS
) -> tuple[list[float], TrainingState]:
    """Train with masks and a changing rate; return the loss of each step, and the state with its graphs."""
    state = training_state(case, feed, device)
    steps = state.steps
    steps._update.defers = True  # as it does on a GPU
    steps._graphs = Graphs(steps._learn, steps._update, state.optimizer, device, recorder)
    most, graphs.MOST_GRAPHS = graphs.MOST_GRAPHS, most_graphs
    try:
        # Two windows in turns: whatever their shapes, each comes often enough.
        for index in range(2 * GRAPH_STEPS):
            # A graph is recorded at the fourth visit of a shape, which waits.
            with no_waits(device if index >= 2 * (graphs.WARM_UP_STEPS + 1) else torch.device("cpu")):
                steps.make([state.task.train_windows(0)[index % 2]], state.counters)
        kept = [made.loss() for made in steps.readings.unread]
        steps.readings.read(state.counters)
    finally:
        graphs.MOST_GRAPHS = most
    return kept, state


def training_state(case: TrainCase, feed: Feed, device: torch.device) -> TrainingState:
    """What a run with dropout and a cosine schedule begins with."""
    config = settings(case, dropout=case.dropout)
    config.scheduler = CosineConfig(name="cosine", warmup_steps=5)
    config.trainer.max_steps = 10 * GRAPH_STEPS
    task = given_task(case, feed)
    torch.manual_seed(1)
    return TrainingState(task, task.build_model(config.model).to(device), config, device, Alone())


def check_weights_stay(state: TrainingState) -> list[str]:
    """Replay at rate 0, and on weights that are not finite; return what is wrong with the weights after it."""
    window, problems = state.task.train_windows(0)[0], []
    weights = list(state.model.parameters())
    before = [weight.detach().clone() for weight in weights]
    rate, state.schedule._full_rate = state.schedule._full_rate, 0.0
    state.steps.make([window], state.counters)
    if any(not one.equal(other) for one, other in zip(before, weights, strict=True)):
        problems.append("a step at rate 0 changed a weight: the graph does not read its rate")
    state.schedule._full_rate = rate
    with torch.no_grad():
        weights[0].fill_(math.nan)
    state.steps.make([window], state.counters)
    if any(not one.equal(other) for one, other in zip(before[1:], weights[1:], strict=True)):
        problems.append("a loss of nan changed a weight within a graph")
    with torch.no_grad():
        weights[0].copy_(before[0])
    state.steps.make([window], state.counters)
    state.steps.readings.read(state.counters)
    if state.counters.skipped != 1 or not math.isfinite(state.steps.readings.shown["loss"]):
        problems.append(f"{state.counters.skipped} steps were skipped, wanted 1, and no trace of it in the next")
    return problems


def step_ms(state: TrainingState, rounds: int = 5) -> float:
    """Milliseconds of a step, the median of some rounds of steps that nobody waits for."""
    window, times = state.task.train_windows(0)[0], []
    for _ in range(rounds + 1):  # the first warms up
        began = time.perf_counter()
        for _ in range(GRAPH_STEPS):
            state.steps.make([window], state.counters)
        state.steps.readings.read(state.counters)  # which waits
        times.append((time.perf_counter() - began) * 1000 / GRAPH_STEPS)
    return round(statistics.median(times[1:]), 3)


@contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Let torch refuse what waits for a GPU."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
