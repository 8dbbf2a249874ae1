"""Kill runs and hold what becomes of them against runs that were left alone: `rnnlab train` keeps its promise, or not.

    python scripts/chaos.py --kills 1000 --json benchmarks/chaos.json

Every task and cell, on made-up corpora of a few thousand tokens: killed at random moments and at every operation that
changes the disk, resumed as a user would, and compared to the last bit: weights, optimizer, generators, the whole
checkpoint, TensorBoard's records, metrics.jsonl, samples, scores. Exit code 1 if anything differs, or if a part that a
run is made to forget is not missed.

The report is written as it grows: after Ctrl-C, SIGTERM or the time limit it holds what was seen until then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads
os.environ.setdefault("OMP_NUM_THREADS", "1")

from crashes import crash_parts, together, traced
from crashes.bench import Bench, Late
from crashes.forks import end_all

PARTS = ("A1", "A2", "A3", "A5", "A6", "A7", "A8", "A9", "A10", "B", "H")
NEWS_SECONDS = 2.0  # between two looks at what the benches have seen


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="rnnlab-chaos-", dir=memory if memory.is_dir() else None))
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    benches = {_fork(folder / str(number), options, number): number for number in range(options.jobs)}
    failed: list[str] = []
    is_interrupted = False
    while True:
        try:
            time.sleep(NEWS_SECONDS if not is_interrupted else 0.1)
            failed += _ended(benches)
        except KeyboardInterrupt:
            is_interrupted = True
            _stop(benches)
        report = _report(folder, options, time.monotonic() - began)
        report |= {"interrupted": is_interrupted} | ({"failed": failed} if failed else {})
        _write(report, options.json)
        if not benches:
            break
    text = json.dumps(report, indent=1)
    print(text if options.json is None else f"{report['kills']} kills, {report['mismatches']} mismatches")
    if report["mismatches"] or failed:
        return 1
    shutil.rmtree(folder)
    return 130 if is_interrupted else 0


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="in all parts that count them together (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places struck")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="of the matrix (default all)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="benches side by side (default all cores)"
    )
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="begin nothing new after this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, as it grows")
    return parser.parse_args(argv)


def _fork(folder: Path, options: argparse.Namespace, number: int) -> int:
    """Let a bench work in a process of its own, a fork of this one; return its number."""
    folder.mkdir()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _work(folder, options, number)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        end_all()
        sys.stderr.flush()
        os._exit(code)


def _work(folder: Path, options: argparse.Namespace, number: int) -> None:
    """Do a bench's share of all parts, and tell what it sees in report.json."""
    bench = Bench(folder, f"{options.seed}-{number}", options.time_limit, (number, options.jobs))
    news = folder / "report.json"
    state = ""

    def tell() -> None:
        text = json.dumps({"state": state, "parts": {name: tally.report() for name, tally in bench.tallies.items()}})
        news.with_suffix(".tmp").write_text(text)
        news.with_suffix(".tmp").replace(news)

    bench.on_news = tell
    try:
        _run(bench, options)
        state = "done"
    except Late:
        state = "late"
    except KeyboardInterrupt:
        state = "interrupted"
    tell()


def _run(bench: Bench, options: argparse.Namespace) -> None:
    kills = options.kills
    whole = {  # each is one bench's
        "A6": lambda: crash_parts.controls(bench),
        "B": lambda: together.signals(bench, number=max(8, kills // 10)),
        "A9": lambda: crash_parts.write_order(bench),
        "H": lambda: together.one_folder(bench),
        "A7": lambda: crash_parts.steps_one_by_one(bench),
        "A8": lambda: crash_parts.elsewhere(bench),
    }
    shared = {
        "A5": lambda: crash_parts.places(bench, max(11, kills // 5)),
        "A2": lambda: crash_parts.every_operation(bench, bench.portion(kills // 3)),
        "A3": lambda: traced.every_call(bench, bench.portion(kills // 10)),
        "A10": lambda: crash_parts.teams(bench, bench.portion(kills // 20)),
        "A1": lambda: crash_parts.random_moments(bench, bench.portion(kills - kills // 3 - kills // 10 - kills // 20)),
    }
    for name in bench.mine([name for name in whole if name in options.parts]):
        whole[name]()
    for name, part in shared.items():
        if name in options.parts:
            part()


def _ended(benches: dict[int, int]) -> list[str]:
    """Take those out that have ended; say which of them came to grief."""
    failed = []
    for pid, number in list(benches.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del benches[pid]
            if status:
                failed.append(f"bench {number} ended with {os.waitstatus_to_exitcode(status)}")
    return failed


def _stop(benches: dict[int, int]) -> None:
    """Ask the benches to end; they kill what is under way."""
    for pid in benches:
        os.kill(pid, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _report(folder: Path, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Put together what the benches have told."""
    import torch

    from rnnlab.hardware import usable_cores

    told = [json.loads(path.read_text()) for path in sorted(folder.glob("*/report.json"))]
    parts: dict[str, Any] = {}
    for one in told:
        parts = _added(parts, one["parts"])
    parts = {name: parts[name] for name in sorted(parts, key=lambda name: PARTS.index(name.partition(" ")[0]))}

    def total(name: str) -> int:
        return sum(part[name] for part in parts.values())

    by_job: dict[str, Any] = {}
    for part in parts.values():
        by_job = _added(by_job, part["by_task_and_cell"])
    return {
        "command": f"python scripts/chaos.py {' '.join(sys.argv[1:])}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {"system": platform.platform(), "cores": usable_cores(), "torch": torch.__version__},
        "seed": options.seed,
        "seconds": round(seconds, 1),
        "ended_by_time_limit": any(one["state"] == "late" for one in told),
        "kills": total("kills"),
        "kills_by_task_and_cell": by_job,
        "runs": total("runs"),
        "mismatches": total("mismatches"),
        "duplicate_records": total("duplicate_records"),
        "parts": parts,
    }


def _added(one: Any, other: Any) -> Any:
    """Add up two reports: numbers, the entries of lists and of dicts."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _added(one.get(key), other.get(key)) for key in {**one, **other}}
    if one is None or other is None or isinstance(one, str):
        return other if one is None else one
    total = one + other
    return round(total, 1) if isinstance(total, float) else total


def _write(report: dict[str, Any], file: Path | None) -> None:
    """Write the report whole, in place of the one before."""
    if file is not None:
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_text(json.dumps(report, indent=1) + "\n")
        temporary.replace(file)


if __name__ == "__main__":
    sys.exit(main())
