"""`rnnlab bench train`: whole training steps beside the loops people write, first for equal losses, then for time."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.benchmarks.steps.cases import CASES, CONTENDERS, TrainCase
from rnnlab.commandline.options import check_writable, names, one_line_errors
from rnnlab.errors import ConfigError
from rnnlab.wording import milliseconds

if TYPE_CHECKING:
    from rnnlab.benchmarks.steps.race import Measured

SOURCES = ("synthetic", "corpus")


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        cases: in the order in which they are measured.
        contenders: in the order of the table; the first is what the others are compared with.
        source: one of `SOURCES`.
        threads: of every contender; 0: as many as this process may use.
        parity_steps: steps whose losses are compared.
        steps: timed steps of a case; None: as `seconds` says.
        seconds: for the timed steps of a case, all contenders together.
        json: where the results go as well.
    """

    cases: list[TrainCase]
    contenders: list[str]
    source: str
    threads: int
    parity_steps: int
    steps: int | None
    seconds: float
    json: Path | None


def main(argv: list[str]) -> int:
    """Measure and print.

    Args:
        argv: What follows `bench train`.

    Returns:
        0, or 1 if two float32 contenders do not learn the same.

    Raises:
        ConfigError: A bad option.
        DataError: `--data corpus` without the corpus.
        CannotWriteError: The JSON file cannot be written.
    """
    request = read_request(argv)
    from rnnlab.benchmarks.machine import machine_facts
    from rnnlab.benchmarks.parity import ParityError
    from rnnlab.benchmarks.steps.race import measure
    from rnnlab.commands._bench_report import Report
    from rnnlab.hardware import plain_environment, set_threads, usable_cores

    threads = set_threads(request.threads or usable_cores())
    # As the workers: CPU time leaves out what else runs, and counts threads that wait as work.
    clock = time.process_time if threads == 1 else time.perf_counter
    machine = machine_facts(cores=usable_cores(), allocator_keeps=False, clock=clock)
    del machine["allocator"]  # each contender says its own
    settings = {name: getattr(request, name) for name in ("source", "threads", "parity_steps", "steps", "seconds")}
    report = Report("train", machine, settings, request.json)
    measured: list[tuple[TrainCase, list[Measured]]] = []
    for case in request.cases:
        try:
            found = measure(
                case,
                request.contenders,
                source=request.source,
                threads=threads,
                parity_steps=request.parity_steps,
                steps=request.steps,
                seconds=request.seconds,
                environment=plain_environment(),
            )
        except ParityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(progress(case, found), file=sys.stderr, flush=True)
        measured.append((case, found))
        report.add({"case": asdict(case), "contenders": [asdict(one) for one in found]})
    print_report(report.content, measured)
    return 0


def read_request(argv: list[str]) -> Request:
    """Read the options.

    Raises:
        ConfigError: An unknown option or name, or a number out of range.
        CannotWriteError: There is no folder for the JSON file.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab bench train",
        description="Time whole training steps beside the loops people write with torch alone, each in a process of its"
        " own and all in turns, after a check that their losses are the same.",
    )
    ways = "; ".join(f"{name}: {about}" for name, about in CONTENDERS.items())
    parser.add_argument("--cases", metavar="NAMES", default=",".join(CASES), help="default: %(default)s")
    parser.add_argument("--contenders", metavar="NAMES", help=f"default: all that this processor can do. {ways}")
    parser.add_argument("--data", choices=SOURCES, default=SOURCES[0], help="made-up ids, or each case's corpus")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores that this process may use")
    parser.add_argument("--steps", type=int, metavar="N", help="timed steps of a case; default: as --seconds says")
    parser.add_argument("--seconds", type=float, default=20.0, help="for the timed steps of a case; default: 20")
    parser.add_argument("--parity-steps", type=int, metavar="N", default=50, help="losses compared; default: 50")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there too")
    options = one_line_errors(parser).parse_args(argv)
    for name, least in (("threads", 1), ("steps", 1), ("parity_steps", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    if not 0 < options.seconds < float("inf"):
        raise ConfigError(f"--seconds must be above 0, got {options.seconds:g}")
    check_writable(options.json)
    return Request(
        cases=[CASES[name] for name in names("--cases", options.cases, CASES)],
        contenders=names("--contenders", options.contenders or ",".join(_default_contenders()), CONTENDERS),
        source=options.data,
        threads=options.threads or 0,
        parity_steps=options.parity_steps,
        steps=options.steps,
        seconds=options.seconds,
        json=options.json,
    )


def progress(case: TrainCase, found: list[Measured]) -> str:
    """Say in one line how a case went: 'ptb_650: losses agree to 3e-06; plain 520 ms; rnnlab 260 ms, 2.01x'."""
    worst = max((one.error for one in found if one.name != "bf16"), default=0.0)
    parts = [f"{case.name}: losses agree to {worst:.0e}"]
    for one in found:
        faster = f", {one.speedup.median:.2f}x" if one.speedup else ""
        parts.append(f"{one.name} {milliseconds(one.seconds.median)} ms{faster}")
    return "; ".join(parts)


def print_report(report: dict[str, Any], measured: list[tuple[TrainCase, list[Measured]]]) -> None:
    """Print the machine in two lines, the table, and where each step's time goes."""
    from rnnlab.commands._tables import print_table

    machine, settings = report["machine"], report["settings"]
    peaks = ", ".join(f"{name} {value:.1f}" for name, value in machine["product_gflops"].items())
    print(f"{machine['processor']}, engine {machine['engine']}, torch {machine['torch']};", end=" ")
    print(f"{machine['threads']} of {machine['cores']} cores, {machine['clock']}; data: {settings['source']}")
    print(f"a large product reaches {peaks} GFLOP/s; load average {report['load_average']['start']}", end=" ")
    print(f"before, {report['load_average']['end']} after")
    headings = ("case", "contender", "ms a step", "faster", "quartiles", "tokens/s", "peak MB", "loss differs")
    print_table(headings, [_row(case, one) for case, found in measured for one in found], left=2)
    parts = list(dict.fromkeys(name for _, found in measured for one in found for name in one.parts))
    print("\nms of a step, by part")
    rows = [
        (case.name, one.name, *(f"{1e3 * one.parts[name]:.1f}" if name in one.parts else "" for name in parts))
        for case, found in measured
        for one in found
    ]
    print_table(("case", "contender", *(name.replace(" ", "\n", 1) for name in parts)), rows, left=2)


def _row(case: TrainCase, one: Measured) -> tuple[str, ...]:
    return (
        case.name,
        one.name,
        milliseconds(one.seconds.median),
        f"{one.speedup.median:.2f}x" if one.speedup else "",
        f"{one.speedup.lower:.2f}-{one.speedup.upper:.2f}" if one.speedup else "",
        f"{one.tokens_per_second:,.0f}",
        "" if one.peak_mb is None else f"{one.peak_mb:,.0f}",
        f"{one.error:.0e}",
    )


def _default_contenders() -> list[str]:
    """Leave out what this processor cannot do."""
    from rnnlab.cells.cpu.library import library

    return [name for name in CONTENDERS if name != "bf16" or library().multiplies_bfloat16]
