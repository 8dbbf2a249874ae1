"""`rnnlab xray` on runs of every kind of task: the report, its sentences, and what it leaves in the run's folder."""

import json
import math

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from rnnlab.cli import main
from rnnlab.commands import xray
from rnnlab.inspection.xray import sentences
from rnnlab.json_files import read_json

SMALL = ["steps=12", "rows=2", "places=8"]


def tags(folder):
    found = set()
    for path in folder.glob("events*"):
        for event in EventFileLoader(str(path)).Load():
            found |= {value.tag for value in event.summary.value}
    return found


@pytest.mark.parametrize("task", ["next_word", "sentiment", "music"])
def test_a_finished_run_is_looked_into(task, finished, capsys):
    weights = (finished / task / "checkpoints/best").resolve() / "model.safetensors"
    before, result = weights.read_bytes(), read_json(finished / task / "result.json")
    assert main(["xray", f"run={task}", *SMALL]) == 0
    report = read_json(finished / task / "xray.json")
    told = capsys.readouterr().out.splitlines()
    assert told[:-1] == report["sentences"]
    assert told[0].startswith("layer 0: 90 % of the gradient of its recurrent weights comes from the last ")
    layer = report["layers"]["layer_0"]
    assert sum(layer["gradient_share"]) == pytest.approx(1.0, abs=1e-6)  # of losses in float32
    assert math.exp(layer["lag_slope"]) == pytest.approx(layer["decay"])
    assert report["truncation"]["lengths"][0] == 1
    assert len(report["memory"]["loss"]) == len(report["memory"]["lengths"])
    assert all(math.isfinite(loss) for loss in report["memory"]["loss"])
    assert {"xray_by_lag/layer_0/state", "xray_by_lag/loss_with_history", "xray/text_summary"} <= tags(finished / task)
    assert weights.read_bytes() == before
    assert read_json(finished / task / "result.json") == result


def test_numbers_and_features_in_both_directions_and_without_pictures(train, monkeypatch, capsys):
    monkeypatch.setattr(xray.figures, "has_matplotlib", lambda: False)
    ball = train("ball", "model=irnn", name="ball")
    capsys.readouterr()
    assert main(["xray", "run=ball", *SMALL, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == read_json(ball / "xray.json")
    assert "dead" in report["layers"]["layer_0"]["units"]
    assert report["memory"]["unit"] == "squared error"
    assert not (ball / "xray").exists()
    both = train("sentiment", "model.bidirectional=true", name="both")
    assert main(["xray", "run=both", *SMALL]) == 0
    report = read_json(both / "xray.json")
    assert list(report["layers"]) == ["layer_0", "layer_0_reverse"]
    assert "truncation" not in report


def test_pictures_are_drawn_where_matplotlib_is(train):
    pytest.importorskip("matplotlib")
    folder = train("adding", "task.seq_len=8", "model=gru")
    assert main(["xray", "run=run", *SMALL]) == 0
    names = {"states", "gradient", "truncation", "memory"}
    assert {path.stem for path in (folder / "xray").glob("*.png")} == names
    assert {f"xray/{name}" for name in names} <= tags(folder)
    assert main(["train", "resume=run", "trainer.max_steps=5"]) == 0, "a run goes on after it"


def test_same_seed_same_report(train):
    folder = train("copy", "model=gru")
    reports = []
    for seed in (1, 1, 2):
        assert main(["xray", "run=run", *SMALL, f"seed={seed}"]) == 0
        reports.append({**read_json(folder / "xray.json"), "seed": None})
    assert reports[0] == reports[1] != reports[2]


@pytest.mark.parametrize(
    ("losses", "effective", "said"),
    [
        (
            [2.5, 2.0, 1.5],
            4,
            "the loss falls from 2.5 with one step of history to 1.5 nats with 8; the last 4 steps bring",
        ),
        ([2.5, 1.5, 1.5], 1, "to 1.5 nats with 8; the last step brings 95 % of that"),
        ([2.5, 2.0, 2.6], 1, "more history brings nothing: the loss is 2.5 with one step of it and 2.6 nats with 8"),
        ([2.5, 2.5, 2.5], 1, "more history brings nothing"),
    ],
)
def test_a_loss_that_does_not_fall_is_not_said_to(losses, effective, said):
    memory = {"lengths": [1, 4, 8], "loss": losses, "unit": "nats", "effective": effective}
    assert said in sentences({"layers": {}, "memory": memory})[-1]


def test_it_names_a_run_that_is_not_there(outputs, capsys):
    assert main(["xray", "run=nothing"]) == 4
    assert "no run 'nothing'" in capsys.readouterr().err
    assert main(["xray"]) == 2
    assert "xray needs run=NAME" in capsys.readouterr().err
