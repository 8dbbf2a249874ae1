"""`rnnlab evaluate`: the score that training reported, from the folder alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.json_files import read_json

TASKS = ["music", "next_word", "sentiment"]


def evaluated(capsys: pytest.CaptureFixture[str], *argv: str) -> dict:
    """Evaluate and return the JSON that is printed."""
    capsys.readouterr()
    assert main(["evaluate", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def scores(run: Path, split: str) -> dict[str, float]:
    """The scores of a split that training wrote down."""
    return {tag: value for tag, value in read_json(run / "result.json")["metrics"].items() if tag.startswith(split)}


@pytest.mark.parametrize("task", TASKS)
def test_the_score_is_the_one_that_training_reported_to_the_last_bit(task, finished, capsys):
    found = evaluated(capsys, f"run={task}")
    assert (found["run"], found["split"]) == (task, "test")
    assert found["metrics"] == scores(finished / task, "test")
    assert evaluated(capsys, f"run={task}", "split=valid")["metrics"] == scores(finished / task, "valid")


@pytest.mark.parametrize("setting", ["trainer.precision=bf16", "trainer.averaging=ema"])
def test_it_is_so_in_half_precision_and_with_averaged_weights(setting, train, capsys):
    run = train("music", setting)
    assert evaluated(capsys, "run=run")["metrics"] == scores(run, "test")


@pytest.mark.parametrize("task", TASKS)
def test_the_score_does_not_depend_on_the_batch_size(task, finished, capsys):
    whole = evaluated(capsys, f"run={task}")["metrics"]
    # float32 products of other shapes round in another order: seven digits of a sum over some hundred predictions
    assert evaluated(capsys, f"run={task}", "batch_size=7")["metrics"] == pytest.approx(whole, rel=1e-6)


def test_a_classifiers_confusion_matrix_counts_every_text(finished, capsys):
    found = evaluated(capsys, "run=sentiment")
    corpus = read_json(finished / "sentiment/run.json")["corpus"]
    assert found["labels"] == ["neg", "pos"]
    assert sum(map(sum, found["confusion"])) == corpus["test_texts"]


def test_the_last_checkpoint_can_be_scored_too(train, capsys):
    run = train("music", "trainer.eval_every_steps=1", "optimizer=sgd", "optimizer.lr=50", "trainer.clip_grad_norm=50")
    assert read_json(run / "result.json")["best_step"] < 4, "the rate is meant to make later steps worse"
    best = evaluated(capsys, "run=run", "split=valid")["metrics"]["valid/loss"]
    last = evaluated(capsys, "run=run", "split=valid", "checkpoint=last")["metrics"]["valid/loss"]
    assert best < last


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file below a folder with its time and content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


@pytest.mark.parametrize("argv", [["evaluate", "run=music"], ["predict", "run=music", "text=X:1"]])
def test_looking_at_a_run_writes_nothing(argv, finished):
    before = snapshot(finished)
    assert main(argv) == 0
    assert snapshot(finished) == before


def test_for_people_it_prints_a_table_on_stdout_and_the_log_on_stderr(finished, capsys):
    assert main(["evaluate", "run=sentiment"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[0] == "sentiment, checkpoint best, split test"
    assert "accuracy" in told.out
    assert "says pos" in told.out
    assert "corpus" in told.err


def test_a_run_is_scored_from_another_folder_than_it_was_trained_in(train, corpora, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.abc").write_bytes(corpora["music"].read_bytes())
    monkeypatch.chdir(tmp_path)
    run = train("music", "task.corpus=mine.abc")
    monkeypatch.chdir("/")
    assert evaluated(capsys, f"run={run}")["metrics"] == scores(run, "test")


def test_generated_tunes_are_judged_beside_the_score(finished, capsys, monkeypatch):
    # music21 takes ten seconds to load, and has tests of its own
    monkeypatch.setattr("rnnlab.commands._tunes.accepted_by_music21", lambda tune: False)
    monkeypatch.setattr("rnnlab.commands._tunes.MAX_CHARS", 20)
    found = evaluated(capsys, "run=music", "tunes=2")["metrics"]
    assert found["tunes/accepted_share"] == 0
    assert found["tunes/longest_copy_max"] >= found["tunes/longest_copy_median"]
    assert found == evaluated(capsys, "run=music", "tunes=2")["metrics"], "the same seed"
