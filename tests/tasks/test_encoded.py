import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from rnnlab.config import SentimentConfig, TrainerConfig
from rnnlab.data import cache
from rnnlab.errors import DataError
from rnnlab.tasks import music
from rnnlab.tasks.sentiment import Sentiment


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


def content(task):
    """Everything that reading a corpus gives a task."""
    ids = {
        split: [np.asarray(part).tolist() for part in np.atleast_1d(task._ids[split])]
        if isinstance(task._ids[split], np.ndarray)
        else [part.tolist() for part in task._ids[split]]
        for split in ("train", "valid", "test")
    }
    classes = {split: np.asarray(labels).tolist() for split, labels in getattr(task, "_classes", {}).items()}
    texts = getattr(task, "_shown", None) or getattr(task, "training_tunes", None)
    return ids, classes, texts, json.dumps([task.corpus, task.dump()])


def reads(caplog, task):
    """What reading the corpus gives and logs."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "rnnlab"):
        task.read_corpus()
    return content(task), [(record.levelname, record.getMessage()) for record in caplog.records]


def fail(*_, **__):
    raise AssertionError("read again")


@pytest.fixture
def no_reading(monkeypatch):
    """From here on, only the cache can give a corpus."""

    def forbid():
        for name in ("next_word.load_text_corpus", "sentiment.load_labelled_texts", "music.load_tunes"):
            monkeypatch.setattr(f"rnnlab.tasks.{name}", fail)

    return forbid


def test_the_cache_gives_what_reading_gives_and_says_the_same(tasks, name, caplog, monkeypatch, corpora, tmp_path):
    own = tmp_path / corpora[name].name
    own.write_bytes(b"\xef\xbb\xbf" + corpora[name].read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setenv(cache.CACHE_VARIABLE, cache.OFF)
    without = reads(caplog, tasks.new(name, corpus=str(own)))
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    first = reads(caplog, tasks.new(name, corpus=str(own)))
    second = reads(caplog, tasks.new(name, corpus=str(own)))
    assert len(cache.entries()) == 1
    assert without == first == second
    assert len([line for level, line in second[1] if level == "WARNING"]) == 2


def test_windows_are_the_same_from_the_cache(tasks, name):
    for task in (read := [tasks.read(name) for _ in range(2)]):
        task.train_windows(1)
    first, second = (task.train_windows(1) for task in read)
    assert len(first) == len(second)
    for index in range(len(first)):
        for one in ("inputs", "targets", "starts"):
            assert getattr(first[index], one).equal(getattr(second[index], one))


def test_a_run_that_goes_on_shares_the_entry_of_its_start(tasks, name, no_reading):
    task = tasks.read(name)
    no_reading()
    restored = tasks.new(name)
    restored.restore(task.dump())
    restored.read_corpus()
    assert content(restored) == content(task)
    assert len(cache.entries()) == 1


def test_another_vocabulary_has_an_entry_of_its_own(tasks, name, no_reading):
    vocabulary = tasks.read(name).dump()
    vocabulary["tokens"] = [token for token in vocabulary["tokens"] if token not in ("cat", "d")]

    def restored():
        task = tasks.new(name)
        task.restore(vocabulary)
        task.read_corpus()
        return task

    first = restored()
    assert len(cache.entries()) == 2
    no_reading()
    assert content(restored()) == content(first)
    assert first.dump() == vocabulary
    assert first.corpus["sha256"] != tasks.read(name).corpus["sha256"]


def test_a_file_with_other_content_but_the_same_size_and_time_is_read(tasks, name, corpora, tmp_path):
    own = Path(shutil.copy(corpora[name], tmp_path))
    before = tasks.read(name, corpus=str(own))
    status = own.stat()
    text = own.read_text()
    own.write_text(text.replace("red", "odd") if name != "music" else text.replace("B2 c2", "c2 B2"))
    os.utime(own, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (own.stat().st_size, own.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert own.read_text() != text
    assert tasks.read(name, corpus=str(own)).corpus["sha256"] != before.corpus["sha256"]


def test_a_file_that_is_gone_is_missed_though_it_was_encoded(tasks, name, corpora, tmp_path):
    own = Path(shutil.copy(corpora[name], tmp_path))
    tasks.read(name, corpus=str(own))
    own.unlink()
    with pytest.raises(DataError, match="no corpus "):
        tasks.read(name, corpus=str(own))


@pytest.mark.parametrize("change", [lambda file: file.write_text(file.read_text() * 2), Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_not_kept(tasks, corpora, tmp_path, monkeypatch, change):
    own = Path(shutil.copy(corpora["music"], tmp_path))
    load = music.load_tunes

    def load_and_change(corpus):
        found = load(corpus)
        change(own)
        return found

    monkeypatch.setattr(music, "load_tunes", load_and_change)
    assert tasks.read("music", corpus=str(own)).corpus["train_tunes"] > 0
    assert cache.entries() == []


@pytest.mark.parametrize(
    ("name", "setting"),
    [("next_word", {"min_count": 1}), ("sentiment", {"max_len": 3}), ("music", {"max_len": 60})],
)
def test_other_settings_are_another_entry(tasks, name, setting):
    assert tasks.read(name).corpus != tasks.read(name, **setting).corpus
    assert len(cache.entries()) == 2


def test_sizes_of_batches_share_an_entry(tasks, name):
    tasks.read(name)
    tasks.read(name, trainer={"batch_size": 3})
    assert len(cache.entries()) == 1


def test_a_task_that_encodes_in_its_own_way_has_an_entry_of_its_own(tasks, corpora):
    class Backwards(Sentiment):
        def _encode(self, tokens):
            return super()._encode(tokens[::-1])

    task = Backwards(SentimentConfig(name="sentiment", corpus=str(corpora["sentiment"])), TrainerConfig(), 0)
    ours = tasks.read("sentiment")
    task.read_corpus()
    assert len(cache.entries()) == 2
    assert task._ids["train"][0].tolist() == ours._ids["train"][0].tolist()[::-1]


def test_a_damaged_entry_gives_the_corpus_anyway(tasks, name, caplog):
    task = tasks.read(name)
    ((path, size),) = cache.entries()
    os.truncate(path, size // 2)
    again, lines = reads(caplog, tasks.new(name))
    assert again == content(task)
    assert len([line for level, line in lines if level == "WARNING"]) == 1
    assert f"{path} is damaged" in lines[0][1]


def test_labels_that_differ_from_the_runs_are_refused_from_the_cache_too(tasks):
    task = tasks.read("sentiment")
    restored = tasks.new("sentiment")
    restored.restore({**task.dump(), "labels": ["no", "yes"]})
    for _ in range(2):
        with pytest.raises(DataError, match=r"has labels \('neg', 'pos'\), the run was trained on"):
            restored.read_corpus()


def test_files_of_a_folder_that_are_not_read_are_named_as_long_as_they_are_there(tasks, corpora, tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(corpora["next_word"], folder / "train.txt")
    (folder / "more.txt").write_text("not read\n")
    for _ in range(2):  # read, and from the cache
        reads(caplog, tasks.new("next_word", corpus=str(folder)))
        assert caplog.text.count("not read, named neither train, valid nor test: more.txt") == 1
    (folder / "more.txt").unlink()
    reads(caplog, tasks.new("next_word", corpus=str(folder)))
    assert "not read" not in caplog.text
