"""Cases of a few units, as files that contenders read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rnnlab.benchmarks.steps import feed as feed_module
from rnnlab.benchmarks.steps.cases import CASES, TrainCase
from rnnlab.benchmarks.steps.feed import Feed, make_feed, write_feed

Made = Callable[[str], tuple[TrainCase, Feed, Path]]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """`made("music_gru")` gives the case at toy size, its data, and the folder that holds it."""
    monkeypatch.setattr(feed_module, "NUM_WINDOWS", 6)
    monkeypatch.setattr(feed_module, "NUM_BATCHES", {"sentiment": 3, "music": 2})
    monkeypatch.setattr(feed_module, "_LENGTHS", {"sentiment": (9, 0.5), "music": (12, 0.5)})

    def make(name: str) -> tuple[TrainCase, Feed, Path]:
        case = CASES[name]
        size = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 6, "batch_size": 4, "max_len": 20}
        case = replace(case, **size, bptt_len=None if case.bptt_len is None else 5)
        feed = make_feed(case, "synthetic")
        write_feed(tmp_path, case, feed)
        return case, feed, tmp_path

    return make
