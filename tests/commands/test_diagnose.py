"""`rnnlab diagnose` on runs of this process: what it prints, and that it changes nothing."""

import json

import pytest

from rnnlab.cli import main
from rnnlab.json_files import read_json

# Twenty steps with a rate at which nothing is learned.
LAZY = ("optimizer.lr=1e-7", "trainer.max_epochs=9", "trainer.max_steps=20", "trainer.eval_every_steps=5")


@pytest.fixture
def lazy(train, capsys):
    folder = train("next_word", *LAZY)
    return folder, capsys.readouterr().out


def test_training_ends_with_a_line_for_each_finding(lazy):
    said = [line for line in lazy[1].splitlines() if line.startswith("diagnosis: ")]
    assert len(said) == 1
    assert said[0].startswith("diagnosis: an update changes the weights by ")
    assert said[0].endswith("; try optimizer.lr=0.0005")  # less than a hundredth of what is usual: a hundredfold


def test_the_page_says_what_was_measured_and_the_command_to_type(lazy, capsys):
    folder = lazy[0]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["diagnose", "run=run"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("run: 1 finding (done, 20 steps)\n\nsevere: lr too low\n")
    assert "  try: optimizer.lr=0.0005\n" in page
    command = next(line for line in page.splitlines() if line.startswith("  rnnlab train "))
    assert command.endswith(" optimizer.lr=0.0005")
    assert command.count("optimizer.lr=") == 1
    assert "name=" not in command
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_json_holds_findings_and_the_signals_behind_them(lazy, capsys):
    assert main(["diagnose", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["rule"] for one in found["findings"]] == ["lr_too_low"]
    assert found["findings"][0]["overrides"] == ["optimizer.lr=0.0005"]
    assert found["signals"]["has_learned"] is False
    assert 0 < found["signals"]["update_ratio"] < 1e-5
    assert found["not_judged"] == []


def test_a_run_that_goes_on_and_an_older_one_are_read_too(lazy, capsys):
    folder = lazy[0]
    result = read_json(folder / "result.json")
    (folder / "result.json").write_text(json.dumps({**result, "status": "running", "exit_code": None}))
    assert main(["diagnose", "run=run"]) == 0
    assert "run: 1 finding (running, 20 steps)" in capsys.readouterr().out
    (folder / "result.json").write_text(json.dumps({key: result[key] for key in ("status", "exit_code", "steps")}))
    run = read_json(folder / "run.json")
    del run["baseline"]
    (folder / "run.json").write_text(json.dumps(run))
    for events in folder.glob("events.*"):
        events.unlink()
    assert main(["diagnose", "run=run"]) == 0
    assert capsys.readouterr().out == (
        "run: nothing found (done, 20 steps)\n\n"
        "not judged: the rate (no optim/update_ratio), gates and units (no evaluation looked at them),\n"
        "whether it learned (no baseline, or no evaluation yet).\n"
    )


def test_what_it_cannot_read_is_told_in_one_line(train, capsys):
    folder = train("sentiment")
    assert main(["diagnose", "run=nowhere"]) == 4
    assert "nowhere" in capsys.readouterr().err
    (folder / "result.json").write_text("{")
    assert main(["diagnose", "run=run"]) == 4
    assert "result.json is damaged" in capsys.readouterr().err
    assert main(["diagnose"]) == 2
