"""`rnnlab rm`: only runs, only under outputs/, only those that nobody is at."""

from __future__ import annotations

import io
import sys

import pytest

from rnnlab.commands.rm import main
from rnnlab.errors import CannotWriteError, CheckpointError, ConfigError, FolderInUseError
from rnnlab.json_files import write_json
from rnnlab.run_lock import lock_run
from rnnlab.runs import create_run


@pytest.fixture(autouse=True)
def three_runs(outputs):
    for name in ("a", "b", "sweep-1/0-rnn", "sweep-1/1-gru"):
        folder = create_run(name, exact=True)
        write_json(folder / "run.json", {"format": 1})
        write_json(folder / "result.json", {"status": "done"})
        (folder / "checkpoints").mkdir()
    write_json(outputs / "sweep-1" / "sweep.json", {"jobs": []})
    return outputs


class Terminal:
    def isatty(self):
        return True


@pytest.fixture
def answer(monkeypatch):
    def set_answer(text):
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr("builtins.input", lambda question: text)

    return set_answer


def left(outputs):
    return sorted(path.name for path in outputs.iterdir())


@pytest.mark.parametrize(("text", "code", "remain"), [("y", 0, ["sweep-1"]), ("", 1, ["a", "b", "sweep-1"])])
def test_it_asks_first(outputs, answer, capsys, text, code, remain):
    answer(text)
    assert main(["a", "run=b"]) == code
    assert left(outputs) == remain
    assert str(outputs / "a") in capsys.readouterr().out


def test_yes_asks_nothing_and_a_sweep_goes_with_its_runs(outputs, capsys):
    assert main(["sweep-1", "--yes"]) == 0
    assert left(outputs) == ["a", "b"]
    assert "2 runs" in capsys.readouterr().out


def test_one_run_of_a_sweep_can_go(outputs):
    assert main(["--yes", "sweep-1/0-rnn"]) == 0
    assert left(outputs / "sweep-1") == ["1-gru", "sweep.json"]


def test_ctrl_d_is_a_no(outputs, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda question: (_ for _ in ()).throw(EOFError))
    assert main(["a"]) == 1
    assert capsys.readouterr().out.endswith("\nnothing was removed\n")
    assert (outputs / "a").is_dir()


def test_a_folder_that_held_nothing_else_goes_too(outputs, make_run):
    make_run("deep/er/one", {"status": "done"})
    make_run("deep/two", {"status": "done"})
    assert main(["deep/er/one", "--yes"]) == 0
    assert left(outputs / "deep") == ["two"]
    assert main(["deep/two", "--yes"]) == 0
    assert left(outputs) == ["a", "b", "sweep-1"]


def test_without_a_terminal_nothing_is_removed(outputs, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigError, match="--yes goes ahead"):
        main(["a"])
    assert left(outputs) == ["a", "b", "sweep-1"]


def test_a_run_in_use_is_kept_and_so_are_the_others(outputs):
    with lock_run(outputs / "b"), pytest.raises(FolderInUseError, match="nothing was removed"):
        main(["a", "b", "--yes"])
    with lock_run(outputs / "sweep-1" / "1-gru"), pytest.raises(FolderInUseError, match="nothing was removed"):
        main(["sweep-1", "--yes"])
    assert left(outputs) == ["a", "b", "sweep-1"]


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../elsewhere", "sweep-1/..", "/", "no-run", "sweep-1/../../elsewhere"]
)
def test_nothing_outside_outputs_is_removed(outputs, name):
    elsewhere = outputs.parent / "elsewhere"
    elsewhere.mkdir()
    write_json(elsewhere / "run.json", {"format": 1})
    for word in (name, str(elsewhere)):
        with pytest.raises(CheckpointError):
            main([word, "--yes"])
    assert (elsewhere / "run.json").is_file()
    assert left(outputs) == ["a", "b", "sweep-1"]


def test_a_link_is_not_followed(outputs):
    elsewhere = outputs.parent / "elsewhere"
    elsewhere.mkdir()
    write_json(elsewhere / "run.json", {"format": 1})
    (outputs / "link").symlink_to(elsewhere)
    (outputs / "other").symlink_to(outputs / "a")
    for name in ("link", "other"):
        with pytest.raises(CheckpointError, match="not under|is a link"):
            main([name, "--yes"])
    assert (elsewhere / "run.json").is_file()
    assert (outputs / "a" / "run.json").is_file()


def test_a_run_and_its_sweep_are_not_named_together(outputs):
    with pytest.raises(ConfigError, match="lies inside sweep-1"):
        main(["sweep-1", "sweep-1/0-rnn", "--yes"])
    assert left(outputs / "sweep-1") == ["0-rnn", "1-gru", "sweep.json"]


def test_what_cannot_be_removed_is_told(outputs, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rnnlab.commands.rm.shutil.rmtree", refuse)
    with pytest.raises(CannotWriteError, match="cannot remove .*a: Permission denied"):
        main(["a", "--yes"])
