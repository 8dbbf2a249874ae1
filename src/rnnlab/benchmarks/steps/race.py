"""Contenders side by side: loss curves held against each other first, then step times taken in turns.

Each contender is a long-lived process. Step k of all is made before step k + 1 of any, so that all times of a round
see the same moment of a machine that does other work too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rnnlab.benchmarks.parity import ParityError
from rnnlab.benchmarks.steps.cases import TrainCase
from rnnlab.benchmarks.steps.feed import make_feed, write_feed
from rnnlab.benchmarks.timing import MIN_ROUNDS, Quartiles, quartiles, ratios
from rnnlab.errors import OutOfMemoryError

TOLERANCE = 1e-4
"""Largest relative difference of float32 losses: rounding gives 1e-6 at first and grows with the steps."""

PARITY_RATE = 0.03
"""Share of a case's learning rate at which curves are compared. Training at the full one is chaotic: a change of the
plain loop's own weights in the last bit grows to 3e-4 of the loss within 50 steps of a word model of 200 units. At a
tenth of the rate 650 tied units were 1e-7 apart for 30 steps, and 1.3e-4 after 48."""

WARM_UP_STEPS = 3
PART_STEPS = 5
SETTLE_SECONDS = 0.01
"""Between two turns: idle OpenMP threads of the one before spin some milliseconds."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How one contender did.

    Attributes:
        name: one of `CONTENDERS`.
        about: what its process said of itself: backend, allocator, threads, wait_policy.
        losses: of the steps without dropout, nats per target.
        error: largest relative difference of a loss to the first contender's.
        seconds: of a step: process CPU time of one thread, else wall time.
        rounds: steps that were timed.
        speedup: how many times faster than the first contender; None for that one.
        tokens_per_second: tokens of the timed steps over their seconds.
        peak_mb: most resident memory in the timed steps, 1e6 bytes; None where the system does not say.
        parts: seconds by part of a step, medians of some steps more.
    """

    name: str
    about: dict[str, Any]
    losses: list[float]
    error: float
    seconds: Quartiles
    rounds: int
    speedup: Quartiles | None
    tokens_per_second: float
    peak_mb: float | None
    parts: dict[str, float]


class Process:
    """A worker's process, asked and answering in turns."""

    def __init__(
        self, case: TrainCase, contender: str, folder: Path, threads: int, environment: Mapping[str, str]
    ) -> None:
        """Start it; it loads torch while others start."""
        self._name = f"{case.name}: {contender}"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rnnlab.benchmarks.steps.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
        )
        self._send({"case": asdict(case), "contender": contender, "folder": str(folder), "threads": threads})

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            OutOfMemoryError: the system killed the process.
            RuntimeError: it ended otherwise; its own message stands above.
        """
        assert self._process.stdout is not None, "a pipe"
        self._send({"do": do, **more})
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        if code == -9:
            raise OutOfMemoryError(f"{self._name} was killed, which is what the system does when memory runs out")
        raise RuntimeError(f"{self._name} ended with exit code {code}")

    def close(self) -> None:
        """End it, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None, "a pipe"
            with suppress(BrokenPipeError):  # a last request that it never read
                pipe.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None, "a pipe"
        with suppress(BrokenPipeError):  # it has ended: `ask` finds out how
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()


def measure(
    case: TrainCase,
    contenders: Sequence[str],
    *,
    source: str,
    threads: int,
    parity_steps: int,
    steps: int | None,
    seconds: float,
    environment: Mapping[str, str],
) -> list[Measured]:
    """Hold the contenders' losses against each other and time their steps.

    Args:
        case: what is trained.
        contenders: names; the others are compared with the first.
        source: 'synthetic' or 'corpus'.
        threads: of each process.
        parity_steps: steps without dropout whose losses are compared.
        steps: steps that are timed; None: as `seconds` says.
        seconds: rounds begin for this long.
        environment: of loops with torch alone; rnnlab's have this process's.

    Returns:
        One for each contender, in the same order.

    Raises:
        ParityError: a float32 loss differs by more than rounding.
        DataError: there is no such corpus.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rnnlab-bench-")))
        write_feed(folder, case, make_feed(case, source))
        processes: dict[str, Process] = {}
        for name in contenders:
            own = name in ("rnnlab", "bf16")
            processes[name] = Process(case, name, folder, threads, os.environ if own else environment)
            stack.callback(processes[name].close)
        losses = _loss_curves(processes, parity_steps)
        errors = check_curves(case, losses)
        about = {name: process.ask("build", dropout=case.dropout, rate=1.0) for name, process in processes.items()}
        rounds = _rounds(processes, steps=steps, seconds=seconds)
        parts = {name: _parts(process) for name, process in processes.items()}
    times = {name: [answer["seconds"] for answer in answers] for name, answers in rounds.items()}
    base = contenders[0]
    return [
        Measured(
            name=name,
            about=about[name],
            losses=losses[name],
            error=errors[name],
            seconds=quartiles(times[name]),
            rounds=len(times[name]),
            speedup=None if name == base else ratios(times[base], times[name]),
            tokens_per_second=sum(answer["tokens"] for answer in rounds[name]) / sum(times[name]),
            peak_mb=rounds[name][-1]["peak_mb"],
            parts=parts[name],
        )
        for name in contenders
    ]


def check_curves(case: TrainCase, losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Hold loss curves against the first one.

    Returns:
        Largest relative difference of each.

    Raises:
        ParityError: that of a float32 contender is larger than `TOLERANCE`, or not a number.
    """
    base, *_ = losses
    found = {}
    for name, curve in losses.items():
        differences = [abs(loss - expected) / expected for loss, expected in zip(curve, losses[base], strict=True)]
        found[name] = max(differences, default=0.0)
        within = all(difference <= TOLERANCE for difference in differences)  # nan is not
        if "bf16" not in (name, base) and not within:
            step = next(number for number, difference in enumerate(differences, 1) if not difference <= TOLERANCE)
            raise ParityError(
                f"{case.name}: the loss of {name} at step {step} is {curve[step - 1]:.6f}, that of {base}"
                f" {losses[base][step - 1]:.6f}; wanted a relative difference of at most {TOLERANCE:.0e};"
                " its times would mean nothing"
            )
    return found


def _loss_curves(processes: Mapping[str, Process], steps: int) -> dict[str, list[float]]:
    """Return the losses of the first steps, from the same weights, without dropout, at a gentle learning rate."""
    for process in processes.values():
        process.ask("build", dropout=0.0, rate=PARITY_RATE)
    return {name: [process.ask("step")["loss"] for _ in range(steps)] for name, process in processes.items()}


def _rounds(processes: Mapping[str, Process], *, steps: int | None, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Make steps in turns; return what each answered, a round's under the same index."""
    for process in processes.values():
        for _ in range(WARM_UP_STEPS):
            process.ask("step")
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
    order = list(processes)
    end = time.monotonic() + seconds
    wanted = MIN_ROUNDS if steps is None else steps
    while (made := len(answers[order[-1]])) < wanted or (steps is None and time.monotonic() < end):
        assert all(len(some) == made for some in answers.values())
        for name in order:
            time.sleep(SETTLE_SECONDS)
            answers[name].append(processes[name].ask("step"))
        order.append(order.pop(0))  # nobody always follows the same one
    return answers


def _parts(process: Process) -> dict[str, float]:
    """Return the median seconds of each part of a step."""
    found: list[dict[str, float]] = process.ask("parts", steps=PART_STEPS)["parts"]
    names = dict.fromkeys(name for one in found for name in one)
    return {name: median(one.get(name, 0.0) for one in found) for name in names}
