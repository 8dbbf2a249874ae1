"""`rnnlab bench cells`: rnnlab's layers against torch.nn's, first for equal numbers, then for time."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.benchmarks.cases import MODES, NUM_GATES, SHAPES, Case, list_cases
from rnnlab.commandline.options import check_writable, names, one_line_errors
from rnnlab.errors import ConfigError
from rnnlab.wording import milliseconds

if TYPE_CHECKING:
    from rnnlab.benchmarks.cells import Measured


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        cases: in the order in which they are measured.
        seconds: for the rounds of a case, wall time.
        threads: of torch; 0: as many as this process may use.
        load: whether all is measured a second time while every core is busy.
        json: where the results go as well.
    """

    cases: list[Case]
    seconds: float
    threads: int
    load: bool
    json: Path | None


def main(argv: list[str]) -> int:
    """Measure and print.

    Args:
        argv: What follows `bench cells`.

    Returns:
        0, or 1 if a layer does not compute what torch.nn computes.

    Raises:
        ConfigError: A bad option.
        CannotWriteError: The JSON file cannot be written.
    """
    request = read_request(argv)
    from rnnlab.benchmarks.cells import measure
    from rnnlab.benchmarks.machine import machine_facts
    from rnnlab.benchmarks.parity import ParityError
    from rnnlab.commands._bench_report import Report
    from rnnlab.hardware import set_threads, tune_allocator, usable_cores

    _refuse_bf16_without_instructions(request.cases)
    threads, cores = set_threads(request.threads or usable_cores()), usable_cores()
    # CPU time leaves out what else runs, which is what --load is about, and counts threads that wait as work.
    clock = time.process_time if threads == 1 and not request.load else time.perf_counter
    machine = machine_facts(cores=cores, allocator_keeps=tune_allocator(), clock=clock)
    report = Report("cells", machine, {"seconds": request.seconds, "load": request.load}, request.json)
    measured: list[tuple[Case, list[Measured]]] = []
    for case in request.cases:
        try:
            found = measure(case, seconds=request.seconds, clock=clock, busy=cores if request.load else 0)
        except ParityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(progress(case, found), file=sys.stderr, flush=True)
        measured.append((case, found))
        report.add(as_json(case, found))
    print_report(report.content, measured, load=request.load)
    return 0


def read_request(argv: list[str]) -> Request:
    """Read the options.

    Raises:
        ConfigError: An unknown option or name, or a number out of range.
        CannotWriteError: There is no folder for the JSON file.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab bench cells",
        description="Time rnnlab's layers beside torch.nn's, in turns, after a check that both compute the same.",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there too")
    parser.add_argument("--threads", type=int, metavar="N", help="default: 1, in CPU time; with --load all cores")
    parser.add_argument("--shapes", metavar="NAMES", help=f"some of {','.join(SHAPES)}; default: all, with --load S,M")
    parser.add_argument("--cells", metavar="NAMES", default=",".join(NUM_GATES), help="default: %(default)s")
    modes = "; ".join(f"{name}: {about}" for name, about in MODES.items())
    parser.add_argument("--modes", metavar="NAMES", help=f"default: all that this processor can do. {modes}")
    parser.add_argument("--seconds", type=float, default=2.0, help="for the rounds of a case; default: %(default)g")
    parser.add_argument("--load", action="store_true", help="training steps alone and beside a busy loop on every core")
    options = one_line_errors(parser).parse_args(argv)
    if options.threads is not None and options.threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {options.threads}")
    if not 0 < options.seconds < float("inf"):
        raise ConfigError(f"--seconds must be above 0, got {options.seconds:g}")
    if options.load and options.modes not in (None, "train"):
        raise ConfigError(f"--load measures training steps, got --modes {options.modes}; leave --modes out")
    check_writable(options.json)
    shapes = names("--shapes", options.shapes or ("S,M" if options.load else ",".join(SHAPES)), SHAPES)
    modes = ["train"] if options.load else names("--modes", options.modes or ",".join(_default_modes()), MODES)
    cases = list_cases([SHAPES[name] for name in shapes], names("--cells", options.cells, NUM_GATES), modes)
    threads = options.threads or (0 if options.load else 1)
    return Request(cases, options.seconds, threads, options.load, options.json)


def progress(case: Case, found: list[Measured]) -> str:
    """Say in one line how a case went: 'train gru S: agrees to 2e-07; torch.nn 70.2 ms; cpu 57.1 ms, 1.23x'."""
    worst = max(error for one in found for error in one.errors.values())
    parts = [f"{case}: agrees to {worst:.0e}"]
    for one in found:
        faster = f", {one.speedup.median:.2f}x" if one.speedup else ""
        slower = f", {one.slowdown:.1f} times slower on busy cores" if one.slowdown else ""
        parts.append(f"{_way(one)} {milliseconds(one.seconds.median)} ms{faster}{slower}")
    return "; ".join(parts)


def as_json(case: Case, found: list[Measured]) -> dict[str, Any]:
    """Return one case as JSON-able data; times are in seconds."""
    return {
        "mode": case.mode,
        "cell": case.cell,
        "shape": case.shape._asdict(),
        "contenders": [asdict(one) for one in found],
    }


def print_report(report: dict[str, Any], measured: list[tuple[Case, list[Measured]]], *, load: bool) -> None:
    """Print the machine in two lines and the table."""
    from rnnlab.commands._tables import print_table

    machine = report["machine"]
    peaks = ", ".join(f"{name} {value:.1f}" for name, value in machine["product_gflops"].items())
    print(f"{machine['processor']}, engine {machine['engine']}, torch {machine['torch']}, allocator", end=" ")
    print(f"{machine['allocator']}; {machine['threads']} of {machine['cores']} cores, {machine['clock']}")
    print(f"a large product reaches {peaks} GFLOP/s; load average {report['load_average']['start']}", end=" ")
    print(f"before, {report['load_average']['end']} after")
    if load:
        headings = ("mode", "cell", "shape", "layer", "ms", "ms, busy cores", "times slower")
        print_table(headings, [_load_row(case, one) for case, found in measured for one in found], left=4)
        return
    headings = ("mode", "cell", "shape", "layer", "torch.nn ms", "ms", "faster", "quartiles", "GFLOP/s", "error")
    rows = [_row(case, found[0], one) for case, found in measured for one in found[1:]]
    print_table(headings, rows, left=4)


def _row(case: Case, base: Measured, one: Measured) -> tuple[str, ...]:
    assert one.speedup is not None, "only torch.nn itself has none"
    return (
        *(case.mode, case.cell, case.shape.name),
        _way(one),
        milliseconds(base.seconds.median),
        milliseconds(one.seconds.median),
        f"{one.speedup.median:.2f}x",
        f"{one.speedup.lower:.2f}-{one.speedup.upper:.2f}",
        f"{one.gflops:.1f}",
        f"{max(one.errors.values()):.0e}",
    )


def _load_row(case: Case, one: Measured) -> tuple[str, ...]:
    assert one.loaded_seconds is not None, "measured with busy cores"
    times = (one.seconds.median, one.loaded_seconds.median)
    return (
        *(case.mode, case.cell, case.shape.name),
        _way(one),
        *(milliseconds(seconds) for seconds in times),
        f"{one.slowdown:.1f}",
    )


def _way(one: Measured) -> str:
    """Name a contender, and what it is where the name does not say: 'auto: torch'."""
    return f"{one.name}: {one.backend}" if one.name == "auto" else one.name


def _default_modes() -> list[str]:
    """Leave out what this processor cannot do."""
    from rnnlab.cells.cpu.library import library

    return [mode for mode in MODES if mode != "bf16" or library().multiplies_bfloat16]


def _refuse_bf16_without_instructions(cases: list[Case]) -> None:
    from rnnlab.cells.cpu.library import library

    if any(case.mode == "bf16" for case in cases) and not library().multiplies_bfloat16:
        raise ConfigError(
            f"--modes: bf16 needs a processor and engine that multiply bfloat16, got {library().detail}; leave it out"
        )
