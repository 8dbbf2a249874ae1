"""Tasks whose sequences are drawn from the seed, from the command line: what works, and what is refused."""

import json

import pytest

from rnnlab.cli import main
from rnnlab.json_files import read_json

SCORES = {
    "adding": {"loss", "mse", "solved_share"},
    "copy": {"loss", "accuracy"},
    "ball": {"loss", "mse", "rollout_radii"},
}


@pytest.mark.parametrize("task", SCORES)
def test_a_run_is_trained_scored_resumed_and_not_asked_to_write(task, train, capsys):
    folder = train(task, "trainer.max_steps=3")
    result = read_json(folder / "result.json")
    assert {tag.partition("/")[2] for tag in result["metrics"]} == SCORES[task]
    assert result["baseline"] > 0
    assert (folder / "samples/step-00000003.txt").read_text().strip()
    capsys.readouterr()
    assert main(["evaluate", "run=run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found == {tag: value for tag, value in result["metrics"].items() if tag.startswith("test/")}
    assert main(["train", "resume=run", "trainer.max_steps=4"]) == 0
    assert read_json(folder / "result.json")["steps"] == 4
    assert main(["generate", "run=run"]) == 2
    assert f"run is a run of task={task}, which writes nothing; try rnnlab evaluate" in capsys.readouterr().err
    assert main(["predict", "run=run", "text=1 2 3"]) == 2
    assert f"run is a run of task={task}, which predict cannot show; try evaluate" in capsys.readouterr().err


def test_runs_on_numbers_are_not_compared_by_resampling(train, capsys):
    train("adding", "task.seq_len=6", name="a")
    train("adding", "task.seq_len=6", "model=gru", name="b")
    assert main(["compare", "a", "b"]) == 2
    assert "a is a run of task=adding, whose errors compare does not resample" in capsys.readouterr().err


def test_a_run_on_drawn_symbols_has_no_text_to_explore(train, capsys):
    train("copy")
    assert main(["explore", "run=run"]) == 2
    assert "explore reads texts, run is a run of task=copy; try rnnlab xray" in capsys.readouterr().err


def test_a_dry_run_tells_the_loss_in_its_unit(outputs, capsys):
    assert main(["train", "task=adding", "model=irnn", "trainer.threads=1", "--dry-run"]) == 0
    assert "first window (T, B) = (100, 50), loss " in (told := capsys.readouterr().err)
    assert " squared error, " in told
    assert not outputs.exists()


def test_histograms_and_other_sequences_are_named(train, capsys):
    folder = train("ball", "trainer.histograms=true", "model=gru")
    (folder / "run.json").write_text(
        (folder / "run.json").read_text().replace('"score_sequences": 9', '"score_sequences": 8')
    )
    assert main(["train", "resume=run", "trainer.max_steps=9"]) == 4
    assert "is not the one run was trained on" in capsys.readouterr().err
