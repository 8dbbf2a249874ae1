"""`rnnlab bench generate`: drawing a text token by token, beside a loop that calls torch.nn for each."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab.benchmarks.cases import NUM_GATES
from rnnlab.commandline.options import check_writable, names, one_line_errors
from rnnlab.errors import ConfigError
from rnnlab.wording import milliseconds

if TYPE_CHECKING:
    from rnnlab.benchmarks.generate import Measured

_SIZES = ("num_tokens", "count", "hidden_size", "num_layers", "vocab_size")


def main(argv: list[str]) -> int:
    """Measure and print.

    Args:
        argv: What follows `bench generate`.

    Returns:
        0, or 1 if the models do not score alike.

    Raises:
        ConfigError: A bad option.
        CannotWriteError: The JSON file cannot be written.
    """
    options = _read_options(argv)
    from rnnlab.benchmarks.generate import measure
    from rnnlab.benchmarks.machine import machine_facts
    from rnnlab.benchmarks.parity import ParityError
    from rnnlab.commands._bench_report import Report
    from rnnlab.hardware import set_threads, tune_allocator, usable_cores

    threads = set_threads(options.threads or usable_cores())
    clock = time.process_time if threads == 1 else time.perf_counter
    sizes = {name: getattr(options, name) for name in _SIZES}
    machine = machine_facts(cores=usable_cores(), allocator_keeps=tune_allocator(), clock=clock)
    report = Report("generate", machine, {"seconds": options.seconds, **sizes}, options.json)
    rows = []
    for cell in options.cells:
        try:
            found = measure(cell, **sizes, seconds=options.seconds, clock=clock)
        except ParityError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        rows.append(_row(found))
        report.add(asdict(found))
    _print(report.content, rows)
    return 0


def _read_options(argv: list[str]) -> argparse.Namespace:
    """Read the options.

    Raises:
        ConfigError: An unknown option or name, or a number out of range.
        CannotWriteError: There is no folder for the JSON file.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab bench generate",
        description="Time drawing a text beside a loop that calls torch.nn for each token; scores must be equal.",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there too")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores; 1 is measured in CPU time")
    parser.add_argument("--cells", metavar="NAMES", default="lstm", help="some of lstm,gru,rnn; default: %(default)s")
    for option, default, about in (
        ("--num-tokens", 1000, "of a text"),
        ("--count", 1, "texts side by side"),
        ("--hidden-size", 512, "of each layer"),
        ("--num-layers", 2, "of the stack"),
        ("--vocab-size", 100, "tokens to draw from"),
    ):
        parser.add_argument(option, type=int, metavar="N", default=default, help=f"{about}; default: %(default)d")
    parser.add_argument("--seconds", type=float, default=20.0, help="for the rounds of a cell; default: %(default)g")
    options = one_line_errors(parser).parse_args(argv)
    for name in ("threads", *_SIZES):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if not 0 < options.seconds < float("inf"):
        raise ConfigError(f"--seconds must be above 0, got {options.seconds:g}")
    check_writable(options.json)
    options.cells = names("--cells", options.cells, NUM_GATES)
    return options


def _row(one: Measured) -> tuple[str, ...]:
    return (
        one.cell,
        milliseconds(one.plain.median),
        milliseconds(one.rnnlab.median),
        f"{one.speedup.median:.1f}x",
        f"{one.speedup.lower:.1f}-{one.speedup.upper:.1f}",
        f"{one.error:.0e}",
    )


def _print(report: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    from rnnlab.commands._tables import print_table

    machine, settings, load = report["machine"], report["settings"], report["load_average"]
    print(
        f"{machine['processor']}, engine {machine['engine']}, torch {machine['torch']}, {machine['threads']}", end=" "
    )
    print(f"of {machine['cores']} cores, {machine['clock']}; load average {load['start']} before, {load['end']} after")
    print(f"{settings['count']} x {settings['num_tokens']} tokens, {settings['num_layers']} x", end=" ")
    print(f"{settings['hidden_size']}, vocabulary {settings['vocab_size']}")
    print_table(("cell", "torch.nn ms", "rnnlab ms", "faster", "quartiles", "error"), rows, left=1)
