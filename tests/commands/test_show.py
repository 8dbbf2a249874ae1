"""`rnnlab show` and what `rnnlab` alone says."""

from __future__ import annotations

import json

import pytest

from rnnlab.cli import main as rnnlab
from rnnlab.commands._next import FIRST_STEPS
from rnnlab.commands.show import main
from rnnlab.errors import CheckpointError
from rnnlab.json_files import read_json, write_json
from rnnlab.reports.curves import read_curves


def test_a_run_is_shown_with_settings_scores_curves_samples_and_what_to_type_next(finished, capsys):
    assert main(["run=sentiment"]) == 0
    told = capsys.readouterr().out
    metrics = read_json(finished / "sentiment" / "result.json")["metrics"]
    rows = [line.split() for line in told.splitlines()]
    assert ["model.hidden_size", "6", "100"] in rows
    assert ["accuracy", "higher", f"{metrics['valid/accuracy']:.4f}", f"{metrics['test/accuracy']:.4f}"] in rows
    assert "accuracy: line train/accuracy" in told
    assert "train/loss" in told
    assert "says neg" in told
    assert "samples, step-00000004.txt" in told
    assert str(finished / "sentiment" / "checkpoints") in told
    assert "rnnlab predict run=sentiment text='not bad at all'" in told
    assert "rnnlab report sentiment" in told


def test_json_holds_the_curves_and_the_command(finished, capsys):
    assert main(["music", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["curves"]["train/loss"]["values"] == read_curves(finished / "music")["train/loss"].values
    assert data["curves"]["train/loss"]["steps"] == [1, 2, 3, 4]
    assert data["command"].startswith("rnnlab train task=music task.corpus=")
    assert "name=" not in data["command"]
    assert data["changed"]["model.hidden_size"] == ["6", "256"]


def test_a_run_without_result_curves_or_samples_is_shown_too(finished, capsys):
    folder = finished / "bare"
    folder.mkdir()
    content = {**read_json(finished / "music" / "run.json"), "overrides": ["task=[odd]"]}
    content["config"]["task"]["name"] = "unheard_of"
    write_json(folder / "run.json", content)
    assert main(["bare"]) == 0
    told = capsys.readouterr().out
    assert "unknown" in told.splitlines()[0]
    assert "its task is not installed here" in told
    assert "'task=[odd]'" in told
    assert "rnnlab rm bare" in told


def test_scores_of_a_run_without_a_finite_one_are_not_called_the_best(finished, capsys):
    path = finished / "music" / "result.json"
    write_json(path, {**read_json(path), "best_step": -1})
    assert main(["music"]) == 0
    assert "scores of the last weights: no evaluation gave a finite score" in capsys.readouterr().out


def test_a_run_that_stopped_is_told_how_to_go_on(finished, capsys):
    path = finished / "music" / "result.json"
    write_json(path, {**read_json(path), "status": "stopped", "error": "StoppedError: by [SIGTERM]"})
    assert main(["music"]) == 0
    told = capsys.readouterr().out
    assert "StoppedError: by [SIGTERM]" in told
    assert told.split("\nnext\n")[1].splitlines()[0].split("  ")[1] == "rnnlab train resume=music"


def test_no_such_run_is_told(finished):
    with pytest.raises(CheckpointError, match="no run 'musc'; did you mean music?"):
        main(["musc"])


def test_rnnlab_alone_says_what_to_type_first(outputs, capsys):
    assert rnnlab([]) == 0
    told = capsys.readouterr().out
    assert all(command in told for command, _ in FIRST_STEPS)
    assert str(outputs) in told.splitlines()[1]
    assert max(map(len, told.splitlines()[2:])) <= 80


def test_rnnlab_alone_goes_on_from_the_newest_run(finished, capsys):
    path = finished / "next_word" / "run.json"
    write_json(path, {**read_json(path), "created": "2099-01-01T00:00:00Z"})
    assert rnnlab([]) == 0
    told = capsys.readouterr().out
    assert "The newest of 3 runs:\n  next_word  done  test/perplexity" in told
    assert "rnnlab show next_word" in told
    assert "rnnlab generate run=next_word" in told
    assert "rnnlab compare" not in told  # no other run reads this corpus
