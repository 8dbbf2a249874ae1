"""`rnnlab init`: a folder that works as it stands."""

from __future__ import annotations

import shlex

import pytest
import yaml

from rnnlab.cli import main as rnnlab
from rnnlab.commands.init import main
from rnnlab.errors import ConfigError, DataError, FolderInUseError
from rnnlab.json_files import read_json


@pytest.fixture
def here(tmp_path, monkeypatch, outputs):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_it_prints_trains_on_the_users_data(here, corpora, capsys):
    (here / "mails.csv").write_text(corpora["sentiment"].read_text().replace("text,label", "body,kind"))
    words = ["my lab", "task=sentiment", "corpus=mails.csv", "text_column=body", "label_column=kind", "max_len=20"]
    assert main(words) == 0
    command = capsys.readouterr().out.split("\nnext:\n")[1].splitlines()[0]
    words = shlex.split(command)
    assert words == ["rnnlab", "train", "--config-dir", "my lab", "experiment=mine"]
    small = ["model.hidden_size=4", "trainer.max_steps=2", "trainer.threads=1", "name=first"]
    assert rnnlab([*words[1:], *small]) == 0
    run = read_json(here / "outputs" / "first" / "run.json")
    assert run["config"]["task"]["corpus"] == str(here / "mails.csv")
    assert run["config"]["task"]["max_len"] == 20
    assert run["config"]["scheduler"]["name"] == "cosine"
    assert run["config_dir"] == str(here / "my lab")
    assert rnnlab(["show", "first", "--json"]) == 0
    assert f"rnnlab train --config-dir '{here / 'my lab'}' experiment=mine" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["next_word", "music"])
def test_every_task_has_its_folder(here, corpora, task):
    assert main(["lab", f"task={task}", f"corpus={corpora[task]}"]) == 0
    experiment = yaml.safe_load((here / "lab" / "experiment" / "mine.yaml").read_text())
    assert experiment["task"] == {"corpus": str(corpora[task])}
    assert len((here / "lab" / "README.md").read_text().splitlines()) == 5
    comments = (here / "lab" / "experiment" / "mine.yaml").read_text().count("#")
    assert comments >= 8


def test_it_overwrites_nothing(here, corpora):
    (here / "lab").mkdir()
    (here / "file").write_text("mine")
    for name in ("lab", "file"):
        with pytest.raises(FolderInUseError, match=f"{name} is there already"):
            main([name, "task=music", f"corpus={corpora['music']}"])
    assert list((here / "lab").iterdir()) == []
    assert (here / "file").read_text() == "mine"


def test_what_does_not_work_leaves_no_folder(here, corpora):
    with pytest.raises(DataError, match="no column 'body'"):
        main(["lab", f"corpus={corpora['sentiment']}", "text_column=body"])
    with pytest.raises(DataError, match="no corpus 'nowhere.csv'"):
        main(["lab", "corpus=nowhere.csv"])
    with pytest.raises(ConfigError, match="task.max_len"):
        main(["lab", f"corpus={corpora['sentiment']}", "max_len=0"])
    assert not (here / "lab").exists()


@pytest.mark.parametrize("value", ["[", "!!x", "1:30", "'5'"])
def test_a_value_that_is_no_number_is_told_as_it_was_typed(here, corpora, value):
    with pytest.raises(ConfigError, match="task.max_len must be a whole number") as error:
        main(["lab", f"corpus={corpora['sentiment']}", f"max_len={value}"])
    assert value in str(error.value)
    assert not (here / "lab").exists()


def test_a_path_is_a_path_whatever_it_holds(here, corpora):
    (here / "a: ${b} #c.csv").write_text(corpora["sentiment"].read_text())
    assert main(["lab", "corpus=a: ${b} #c.csv"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=music"], "init needs the new folder first: rnnlab init my-lab task=music"),
        (["lab", "task=musik", "corpus=x"], "task must be one of music, next_word, sentiment, got 'musik'"),
        (["lab", "task=music", "corpus=x", "text_column=y"], "task=music has no setting 'text_column'"),
        (["lab", "task=music"], "init needs corpus=..., your own file or folder: corpus=tunes.abc"),
        (["lab", "corpus"], "init takes KEY=VALUE, got 'corpus'"),
        (["lab\nevil: 1", "corpus=x"], "printable"),
    ],
)
def test_wrong_words_are_told(here, words, message):
    with pytest.raises(ConfigError) as error:
        main(words)
    assert message in str(error.value)
    assert not (here / "lab").exists()
