"""One contender in a process of its own: allocator, threads and peak memory are a process's, not a loop's.

Reads one request a line from standard input, answers with one line: JSON both ways.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rnnlab.benchmarks.steps.cases import TrainCase
from rnnlab.benchmarks.steps.feed import read_feed
from rnnlab.benchmarks.steps.own import OwnLoop
from rnnlab.benchmarks.steps.plain import PlainLoop
from rnnlab.hardware import tune_allocator
from rnnlab.training.parts import nobody_asks
from rnnlab.training.timeline import Timeline


class Worker:
    """Answers requests about one contender of one case."""

    def __init__(self, case: TrainCase, contender: str, folder: Path, threads: int) -> None:
        """Set up the process as this contender's user would.

        Args:
            case: what is trained.
            contender: one of `CONTENDERS`.
            folder: with feed and weights.
            threads: of torch. One: times are process CPU time, which leaves out what else runs; more: wall time.
        """
        self._clock = time.process_time if threads == 1 else time.perf_counter
        self._case, self._contender, self._folder = case, contender, folder
        torch.set_num_threads(threads)
        self._allocator = contender != "plain" and tune_allocator()
        self._loop: PlainLoop | OwnLoop | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what `do` says: build, step, or parts."""
        match request["do"]:
            case "build":
                return self._build(request["dropout"], request["rate"])
            case "step":
                return self._step()
            case "parts":
                return self._parts(request["steps"])
            case _:
                raise AssertionError(f"nobody asks for {request}")

    def _build(self, dropout: float, rate: float) -> dict[str, Any]:
        """Build the loop anew, from the first weights, and begin to watch for peak memory."""
        self._loop = None
        case, feed = replace(self._case, lr=rate * self._case.lr), read_feed(self._folder)
        torch.manual_seed(0)
        if self._contender in ("plain", "tuned"):
            self._loop = PlainLoop(case, feed, dropout=dropout, fused=self._contender == "tuned")
        else:
            precision = "bf16" if self._contender == "bf16" else "fp32"
            self._loop = OwnLoop(case, feed, dropout=dropout, precision=precision)
        self._loop.load(load_file(self._folder / "weights.safetensors"))
        reset_peak()
        return {
            "backend": self._loop.backend if isinstance(self._loop, OwnLoop) else "torch.nn",
            "allocator": "keeps freed memory" if self._allocator else "as it comes",
            "threads": torch.get_num_threads(),
            "wait_policy": os.environ.get("OMP_WAIT_POLICY", "not set"),
        }

    def _step(self) -> dict[str, Any]:
        assert self._loop is not None, "build comes first"
        began = self._clock()
        loss = self._loop.step()
        seconds = self._clock() - began
        return {"seconds": seconds, "loss": loss, "tokens": self._loop.num_tokens(), "peak_mb": peak_mb()}

    def _parts(self, steps: int) -> dict[str, Any]:
        """Return seconds by part, of each of some steps."""
        assert self._loop is not None, "build comes first"
        timeline = Timeline(self._loop.model, self._clock)
        self._loop.part = timeline.part
        found = []
        try:
            for _ in range(steps):
                timeline.clear()
                self._loop.step()
                found.append(timeline.clear())
        finally:
            self._loop.part = nobody_asks
            timeline.close()
        return {"parts": found}


def reset_peak() -> None:
    """Let the peak of resident memory begin anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_mb() -> float | None:
    """Return the most memory that was resident since `reset_peak`, 1e6 bytes; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if line is None else int(line.split()[1]) * 1024 / 1e6


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not stand between the answers
    first = json.loads(sys.stdin.readline())
    worker = Worker(TrainCase(**first["case"]), first["contender"], Path(first["folder"]), first["threads"])
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
