"""Choosing and ordering runs by words: `task=music status=done sort=score`. No torch."""

from __future__ import annotations

from fnmatch import fnmatchcase
from operator import itemgetter

from rnnlab.errors import ConfigError
from rnnlab.run_list import RunSummary
from rnnlab.wording import better, did_you_mean

STATUSES = ("done", "running", "failed", "killed", "damaged", "stopped", "unknown")
FILTERS = ("name", "task", "model", "status")
ORDERS = ("age", "name", "task", "model", "score", "steps", "time", "status")
_ATTRIBUTES = {"time": "seconds"}


def choose(found: list[RunSummary], words: list[str]) -> list[RunSummary]:
    """Return the runs that fit every filter, in the order asked for.

    Args:
        found: Runs, oldest first.
        words: `task=music,next_word` and so on: one of these values, with * and ? as in file names; `sort=score` puts
            the best first, each score by itself, and sort=-score turns it round.

    Raises:
        ConfigError: A key, status or order that there is none of.
    """
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in (*FILTERS, "sort"):
            wanted = ", ".join(f"{key}=" for key in (*FILTERS, "sort"))
            raise ConfigError(f"runs takes {wanted}, got {word!r}{did_you_mean(key, [*FILTERS, 'sort'], '{}=')}")
        if key == "sort":
            found = _sorted(found, value)
            continue
        patterns = value.split(",")
        if key == "status" and (wrong := [name for name in patterns if name not in STATUSES]):
            hint = did_you_mean(wrong[0], STATUSES)
            raise ConfigError(f"status must be one of {', '.join(STATUSES)}, got {wrong[0]!r}{hint}")
        found = [run for run in found if any(_fits(getattr(run, key), pattern) for pattern in patterns)]
    return found


def _fits(value: str, pattern: str) -> bool:
    """Whether a value is meant; brackets are part of a name."""
    return fnmatchcase(value, pattern.replace("[", "[[]"))


def _sorted(found: list[RunSummary], order: str) -> list[RunSummary]:
    """Order runs; those that have nothing to be ordered by come last, whichever way round."""
    name = order.removeprefix("-")
    if name not in ORDERS:
        raise ConfigError(f"sort must be one of {', '.join(ORDERS)}, got {order!r}{did_you_mean(name, ORDERS)}")

    def key(run: RunSummary) -> tuple[object, ...] | None:
        if name == "score":
            if run.metric is None or run.value is None:
                return None
            return (run.metric, -run.value if better(run.metric) == "higher" else run.value)
        if name == "age":
            return None if run.created is None else (-run.created.timestamp(),)
        value = getattr(run, _ATTRIBUTES.get(name, name))
        return None if value is None else (value,)

    with_key = [(key(run), run) for run in found]
    there = sorted((pair for pair in with_key if pair[0] is not None), key=itemgetter(0), reverse=order[:1] == "-")
    return [run for _, run in there] + [run for value, run in with_key if value is None]
