"""What every benchmark reports of itself, and the JSON file that grows with each case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnlab import __version__
from rnnlab.benchmarks.machine import load_average
from rnnlab.json_files import write_json

FORMAT = 1
"""Of the JSON file; goes up when a reader would have to know."""


class Report:
    """A benchmark's results as they come.

    Attributes:
        content: what the JSON file holds.
    """

    def __init__(self, benchmark: str, machine: dict[str, Any], settings: dict[str, Any], path: Path | None) -> None:
        """Begin with no case; nothing is written yet.

        Args:
            benchmark: its name.
            machine: facts of the machine; rnnlab's version is put before them.
            settings: what was asked for.
            path: of the JSON file; None: there is none.
        """
        self._path = path
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "benchmark": benchmark,
            "machine": {"rnnlab": __version__, **machine},
            "settings": settings,
            "load_average": {"start": load_average(), "end": None},
            "cases": [],
        }

    def add(self, case: dict[str, Any]) -> None:
        """Take in a case, and write all so far: what was measured outlives Ctrl-C.

        Raises:
            CannotWriteError: the file cannot be written.
        """
        self.content["cases"].append(case)
        self.content["load_average"]["end"] = load_average()
        if self._path is not None:
            write_json(self._path, self.content)
