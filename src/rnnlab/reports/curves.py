"""The curves of a run, read back from its TensorBoard events: the one place that knows how they are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from rnnlab.wording import better

EVENTS = "events.out.tfevents.*"


@dataclass(slots=True)
class Curve:
    """One number over the steps of a run; values that are not finite are left out.

    Attributes:
        steps: Increasing.
        values: One for each step.
    """

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def best(self, tag: str) -> tuple[int, float] | None:
        """Return step and value where a score was best; None for an empty curve or a tag that has no better side."""
        choose = {"lower": min, "higher": max}.get(better(tag))
        if choose is None or not self.values:
            return None
        value = choose(self.values)
        return self.steps[self.values.index(value)], value


def read_curves(run: Path) -> dict[str, Curve]:
    """Read every scalar of a run by tag, in the order in which the tags were first written.

    A record that is damaged or half written, as the last one of a run that is being trained, ends its file. Where a
    step was written twice the later file counts, as in TensorBoard.

    Args:
        run: The run's folder.
    """
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    found: dict[str, dict[int, float]] = {}
    for path in sorted(run.glob(EVENTS)):
        for record in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(record)
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value" and math.isfinite(value.simple_value):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return {tag: _curve(points) for tag, points in found.items()}


def _curve(points: dict[int, float]) -> Curve:
    steps = sorted(points)
    return Curve(steps, [points[step] for step in steps])
