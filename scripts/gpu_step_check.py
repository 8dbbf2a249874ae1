"""Check rnnlab's training step on a GPU: the CPU's losses, no wait for the device, nothing non-finite in a weight.

    python scripts/gpu_step_check.py

For each task a small model makes the same steps on both devices. On the GPU, torch is told to raise an error at every
wait (`set_sync_debug_mode`) once some first steps have built what is built once. Then a loss is spoiled on purpose:
weights must stay, and the error must name the step. `--device cpu` tries the script itself where there is no GPU.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from rnnlab.benchmarks.steps.cases import CASES, TrainCase
from rnnlab.benchmarks.steps.feed import Feed, given_task, make_feed, settings
from rnnlab.errors import DivergedError
from rnnlab.training.alone import Alone
from rnnlab.training.state import TrainingState

WARM_UP_STEPS = 3
STEPS = 20
LIMIT = 5  # trainer.max_skipped's default
TOLERANCE = 1e-3  # relative, of float32 losses over some steps; TF32 is off


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check rnnlab's training step on a GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--cases", default="ptb_650,sentiment_gru,music_lstm", help="default: %(default)s")
    device = torch.device((options := parser.parse_args(argv)).device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu_step_check needs a CUDA device; nothing was checked", file=sys.stderr)
        return 1
    torch.backends.cuda.matmul.allow_tf32 = False
    failed = 0
    for name in options.cases.split(","):
        case = replace(CASES[name], vocab_size=500, embedding_size=64, hidden_size=64)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            problems = check(case, device)
        for problem in problems or ["ok"]:
            failed += problem != "ok"
            print(f"{name} on {device}: {problem}", flush=True)
    return 2 if failed else 0


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
    state.steps.read(state.counters)
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
        state.steps.read(state.counters)
        problems = ["losses of nan ended nothing"]
    except DivergedError as error:
        wanted = f"at step {step + LIMIT - 1} "
        problems = [] if wanted in str(error) else [f"the error does not say {wanted!r}: {error}"]
    finally:
        task.nats = nats
    if any(not one.equal(other) for one, other in zip(before, state.model.parameters(), strict=True)):
        problems.append("a loss of nan changed a weight")
    return problems


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
