"""What a run leaves, reduced to what the promise covers: equal for two runs means equal to the last bit.

The clock's share is left out: seconds, tokens per second, wall times, process ids, the names of event files.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

_OF_THE_CLOCK = ("speed/", "_hparams_/session_")
_OF_THE_PROCESS = ("pid", "seconds", "checkpoint_seconds", "tokens_per_second")
_LEFT_OVER = (".tmp-*", ".del-*", ".corrupt-*", ".*.tmp", ".*.part", ".probe")


def fingerprint(run: Path) -> dict[str, Any]:
    """Everything that must not depend on interruptions, by name."""
    found: dict[str, Any] = {}
    for link in ("last", "best"):
        checkpoint = run / "checkpoints" / link
        found[f"{link} checkpoint"] = checkpoint.resolve().name
        for name, told in json.loads((checkpoint / "manifest.json").read_bytes())["files"].items():
            data = (checkpoint / name).read_bytes()
            found[f"{link}/{name} verifies"] = hashlib.sha256(data).hexdigest() == told["sha256"]
            found[f"{link}/{name}"] = _state(json.loads(data)) if name.endswith(".json") else _hash(data)
    found["records"] = records(run)
    found["metrics.jsonl"] = (run / "metrics.jsonl").read_text().splitlines()
    found["samples"] = {path.name: path.read_text() for path in sorted((run / "samples").glob("*"))}
    result = json.loads((run / "result.json").read_bytes())
    found["result.json"] = {name: value for name, value in result.items() if name not in _OF_THE_PROCESS}
    found["vocabulary.json"] = _hash((run / "vocabulary.json").read_bytes())
    found["left over"] = sorted(path.name for glob in _LEFT_OVER for path in run.rglob(glob))
    return found


def records(run: Path) -> list[tuple[str, int, str]]:
    """Every TensorBoard value in the order of the files: tag, step, and the record's bytes without wall times."""
    found = []
    for path in sorted(run.glob("events.out.tfevents.*")):
        for data in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(data)
            event.wall_time = 0.0
            for value in event.summary.value:
                if value.tag.startswith(_OF_THE_CLOCK):
                    found.append((value.tag, event.step, ""))
                else:
                    found.append((value.tag, event.step, _hash(event.SerializeToString())))
    return found


def differences(whole: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what two fingerprints do not share, the worst of it in words."""
    wrong = [name for name in {**whole, **other} if whole.get(name) != other.get(name)]
    if "records" in wrong:
        twice, missing = duplicates(other), len(_places(whole) - _places(other))
        wrong.append(f"{twice} records twice, {missing} missing")
    return wrong


def duplicates(found: dict[str, Any]) -> int:
    """Tags that have more than one record at a step."""
    return sum(number - 1 for number in _places(found).values())


def _places(found: dict[str, Any]) -> Counter[tuple[str, int]]:
    return Counter((tag, step) for tag, step, _ in found["records"])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _state(value: Any) -> Any:
    """JSON of a checkpoint without the clock: it holds dicts as lists of pairs."""
    if isinstance(value, dict) and "dict" in value:
        pairs = [pair for pair in value["dict"] if pair[0] not in ("seconds", "events")]
        return {str(key): _state(inner) for key, inner in pairs}
    if isinstance(value, dict):
        return {key: _state(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_state(inner) for inner in value]
    return value
