"""Kill runs and hold what becomes of them against runs that were left alone: `rnnlab train` keeps its promise, or not.

    python scripts/chaos.py --kills 1000 --json benchmarks/chaos.json

Every task and cell, on made-up corpora of a few thousand tokens: killed at random moments and at every operation that
changes the disk, resumed as a user would, and compared to the last bit: weights, optimizer, generators, the whole
checkpoint, TensorBoard's records, metrics.jsonl, samples, scores. Exit code 1 if anything differs, or if a part that a
run is made to forget is not missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads
os.environ.setdefault("OMP_NUM_THREADS", "1")

from crashes import crash_parts, together
from crashes.bench import Bench, Late

PARTS = ("A1", "A2", "A5", "A6", "A7", "A8", "A9", "B", "H")


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="rnnlab-chaos-", dir=memory if memory.is_dir() else None))
    began = time.monotonic()
    bench = Bench(folder, options.seed, options.time_limit)
    is_late = False
    try:
        _run(bench, options)
    except Late:
        is_late = True
    report = _report(bench, options, time.monotonic() - began, is_late)
    text = json.dumps(report, indent=1) + "\n"
    if options.json is not None:
        options.json.write_text(text)
    print(text if options.json is None else f"{report['kills']} kills, {report['mismatches']} mismatches")
    if report["mismatches"]:
        return 1
    shutil.rmtree(folder)
    return 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="in A1 and A2 together (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places struck")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the matrix (default all)")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="begin nothing new after this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    return parser.parse_args(argv)


def _run(bench: Bench, options: argparse.Namespace) -> None:
    kills = options.kills
    parts = {
        "A6": lambda: crash_parts.controls(bench),
        "A9": lambda: crash_parts.write_order(bench),
        "A7": lambda: crash_parts.steps_one_by_one(bench, cells=3),
        "A8": lambda: crash_parts.elsewhere(bench),
        "A5": lambda: crash_parts.places(bench, kills=max(11, kills // 5)),
        "B": lambda: together.signals(bench, number=max(8, kills // 10)),
        "H": lambda: together.one_folder(bench),
        "A2": lambda: crash_parts.every_operation(bench, kills // 2),
        "A1": lambda: crash_parts.random_moments(bench, kills - kills // 2),
    }
    for name, part in parts.items():
        if name in options.parts:
            part()


def _report(bench: Bench, options: argparse.Namespace, seconds: float, is_late: bool) -> dict[str, object]:
    import torch

    from rnnlab.hardware import usable_cores

    tallies = bench.tallies
    return {
        "command": f"python scripts/chaos.py {' '.join(sys.argv[1:])}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {"system": platform.platform(), "cores": usable_cores(), "torch": torch.__version__},
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "ended_by_time_limit": is_late,
        "kills": sum(tally.kills for tally in tallies.values()),
        "runs": sum(tally.runs for tally in tallies.values()),
        "mismatches": sum(len(tally.wrong) for tally in tallies.values()),
        "duplicate_records": sum(tally.duplicates for tally in tallies.values()),
        "parts": {name: tally.report() for name, tally in tallies.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
