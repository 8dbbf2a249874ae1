"""`rnnlab diagnose run=RUN`: what ails a run, finished or not, and the settings to try."""

from __future__ import annotations

import argparse
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import Any

from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._details import plain_name, repeated
from rnnlab.commands._tables import print_json
from rnnlab.diagnosis.findings import Diagnosis
from rnnlab.diagnosis.rules import diagnose
from rnnlab.diagnosis.signals import Signals, read_signals
from rnnlab.json_files import read_json
from rnnlab.run_lookup import find_run
from rnnlab.runs import run_name

_WIDTH = 100
_MOST = 3  # lines at the end of training


def main(argv: list[str]) -> int:
    """Diagnose a run.

    Args:
        argv: What follows the verb.

    Raises:
        CheckpointError: There is no such run, or its files are damaged.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab diagnose",
        description="Say what ails a run, finished or not, and which settings to try. It reads what the run measured "
        "of itself, and computes nothing.",
    )
    parser.add_argument("run", metavar="run=RUN", help="a run's name (rnnlab runs lists them) or folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    arguments = one_line_errors(parser).parse_args(argv)
    folder = find_run(plain_name(arguments.run))
    signals = read_signals(folder)
    found = diagnose(signals)
    if arguments.json:
        print_json(_as_data(folder, signals, found))
        return 0
    print("\n".join(_page(folder, signals, found)))
    return 0


def last_lines(folder: Path) -> list[str]:
    """Return what `train` says at its end: the worst findings, one line each; nothing for a healthy run."""
    found = diagnose(read_signals(folder))
    if not found:
        return []
    lines = [f"diagnosis: {one.line()}" for one in found[: _MOST - (len(found) > _MOST)]]
    if len(found) > _MOST:
        lines.append(f"diagnosis: {len(found) - len(lines)} more; rnnlab diagnose run={quote(run_name(folder))}")
    return lines


def _page(folder: Path, signals: Signals, found: list[Diagnosis]) -> list[str]:
    """Return the lines for a terminal."""
    count = f"{len(found)} finding{'s' * (len(found) != 1)}" if found else "nothing found"
    lines = [f"{run_name(folder)}: {count} ({signals.status}, {signals.steps:,} steps)"]
    for one in found:
        lines += ["", f"{one.rule.severity.value}: {one.rule.name.replace('_', ' ')}"]
        lines += _indented(f"{one.finding.measured}.")
        lines += _indented(f"{one.finding.why}.")
        lines += _indented(f"limit: {one.rule.source}.")
        lines.append(f"  try: {' '.join(one.finding.overrides)}")
    if found:
        command = repeated(read_json(folder / "run.json"), found[0].finding.overrides)
        lines += ["", "the worst first, in a run of its own:", f"  {command}"]
    if unknown := _unknown(signals):
        lines += ["", *wrap(f"not judged: {', '.join(unknown)}.", _WIDTH)]
    return lines


def _indented(text: str) -> list[str]:
    return wrap(text[0].upper() + text[1:], _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _unknown(signals: Signals) -> list[str]:
    """Return what a run has no numbers for: it is an older one, or was too short."""
    known = {
        "the rate (no optim/update_ratio)": signals.update_ratio,
        "gates and units (no evaluation looked at them)": signals.units or None,
        "whether it learned (no baseline, or no evaluation yet)": signals.has_learned,
    }
    return [what for what, value in known.items() if value is None]


def _as_data(folder: Path, signals: Signals, found: list[Diagnosis]) -> dict[str, Any]:
    """Return all of it as JSON-able data."""
    return {
        "run": run_name(folder),
        "status": signals.status,
        "steps": signals.steps,
        "findings": [
            {
                "rule": one.rule.name,
                "severity": one.rule.severity.value,
                "measured": one.finding.measured,
                "why": one.finding.why,
                "overrides": list(one.finding.overrides),
                "source": one.rule.source,
            }
            for one in found
        ],
        "signals": {
            "best_valid_loss": signals.best_loss,
            "baseline_loss": signals.baseline,
            "has_learned": signals.has_learned,
            "update_ratio": signals.update_ratio,
            "clipped_share": signals.clipped_share,
            "skipped_steps": signals.skipped,
            "rollbacks": signals.rollbacks,
            "padding_share": signals.padding,
            "arithmetic_share": signals.arithmetic_share,
            "units": dict(signals.units),
        },
        "not_judged": _unknown(signals),
    }
