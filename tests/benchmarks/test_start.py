"""Starts are timed in processes of their own; here with a corpus of a few lines, and never for how long they take."""

import pytest

from rnnlab.benchmarks.start import empty_cache, time_start
from rnnlab.errors import DataError


def test_a_start_says_what_it_went_into_and_leaves_nothing(corpora, tmp_path):
    variables = {"RNNLAB_CACHE": str(tmp_path / "cache")}
    settings = ["task=music", f"task.corpus={corpora['music']}", "model.hidden_size=4", "trainer.threads=1"]
    start = time_start(settings, variables)
    assert {"torch", "settings"} <= set(start.parts)
    # Each part is rounded to 0.1 s, and the benchmark's clock runs for as long as the run's.
    assert 0 < sum(start.parts.values()) <= start.seconds + 0.05 * len(start.parts)
    assert start.cpu_seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_run_that_is_never_ready_is_told_with_its_last_words():
    with pytest.raises(DataError, match=r"rnnlab train task=music .* was never ready: error: no corpus 'nowhere'"):
        time_start(["task=music", "task.corpus=nowhere"], {})


def test_an_empty_cache_has_the_downloads_and_no_encoded_corpus(tmp_path):
    for name in ("cache/ptb", "cache/encoded", "new"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "cache/ptb/ptb.train.txt").write_text("x")
    assert empty_cache(tmp_path / "cache", tmp_path / "new") == {"RNNLAB_CACHE": str(tmp_path / "new")}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["ptb"]
    assert (tmp_path / "new/ptb/ptb.train.txt").read_text() == "x"
    assert empty_cache(tmp_path / "nowhere", tmp_path / "new")
