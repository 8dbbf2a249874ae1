"""What TAB offers."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnlab import runs
from rnnlab.cli import BENCHMARKS, PLAIN, main
from rnnlab.commandline.completion import complete, suggestions
from rnnlab.errors import ConfigError
from rnnlab.json_files import write_json


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.chdir(tmp_path)
    for name in ("music-lstm", "music-gru", "sweep-1/0-rnn"):
        write_json(runs.create_run(name, exact=True) / "run.json", {"format": 1})
    return tmp_path / "outputs"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rnnlab tr", ["train"]),
        ("rnnlab train model=", ["model=gru", "model=irnn", "model=lstm", "model=rnn"]),
        ("rnnlab train model=l", ["model=lstm"]),
        ("rnnlab train mod", ["model.", "model="]),
        ("rnnlab train model.hi", ["model.hidden_size="]),
        ("rnnlab train model=gru task=music model.nu", ["model.num_layers="]),
        ("rnnlab train model.cell=", ["model.cell=rnn", "model.cell=lstm", "model.cell=gru"]),
        ("rnnlab train dry_run=", ["dry_run=true", "dry_run=false"]),
        ("rnnlab train optimizer.mom", []),
        ("rnnlab train optimizer=sgd optimizer.mom", ["optimizer.momentum="]),
        ("rnnlab train -m optimizer=adam,sgd optimizer.mom", ["optimizer.momentum="]),
        ("rnnlab train task=music task.", ["task.corpus=", "task.max_len="]),
        ("rnnlab train -m model=rnn,l", ["model=rnn,lstm"]),
        ("rnnlab train model=rnn,l", []),
        ("rnnlab train task=music task.corpus=", ["task.corpus=trad-tunes", "task.corpus=outputs/"]),
        ("rnnlab train task=next_word task.corpus=w", ["task.corpus=wikitext-2"]),
        ("rnnlab init my-lab task=music corpus=t", ["corpus=trad-tunes"]),
        ("rnnlab evaluate run=music", ["run=music-gru", "run=music-lstm"]),
        ("rnnlab train resume=s", ["resume=sweep-1/0-rnn"]),
        ("rnnlab evaluate sp", ["split="]),
        ("rnnlab evaluate split=t", ["split=train", "split=test"]),
        ("rnnlab board mus", ["music-gru", "music-lstm"]),
        ("rnnlab runs --j", ["--json"]),
        ("rnnlab runs s", ["status=", "sort="]),
        ("rnnlab runs sort=st", ["sort=steps", "sort=status"]),
        ("rnnlab runs name=m", ["name=music-gru", "name=music-lstm"]),
        ("rnnlab show mus", ["music-gru", "music-lstm"]),
        ("rnnlab show music-gru ", []),
        ("rnnlab compare music-gru ", ["music-lstm", "sweep-1", "sweep-1/0-rnn"]),
        ("rnnlab diff s", ["sweep-1", "sweep-1/0-rnn"]),
        ("rnnlab rm --yes music-l", ["music-lstm"]),
        ("rnnlab report sweep-1/", ["sweep-1/0-rnn"]),
        ("rnnlab report music-gru ", []),
        ("rnnlab compare --re", ["--resamples"]),
        ("rnnlab init ", []),
        ("rnnlab init my-lab task=m", ["task=music"]),
        ("rnnlab init my-lab task=music ", ["corpus=", "max_len=", "task="]),
        ("rnnlab init my-lab task=sentiment te", ["text_column="]),
        ("rnnlab bench ", ["cells", "generate", "start", "train"]),
        ("rnnlab bench cells --lo", ["--load"]),
        ("rnnlab nothing x", []),
        ("rnnlab train nosuch=1 (( see", ["seed="]),
        ("python -m rnnlab ev", ["evaluate"]),
        ("", []),
    ],
)
def test_what_tab_offers(line: str, expected: list[str]):
    assert suggestions(line) == expected


def test_verbs_come_first_and_hydras_own_settings_never():
    assert suggestions("rnnlab ")[:4] == ["train", "evaluate", "predict", "generate"]
    offered = suggestions("rnnlab train ")
    assert {"model=", "model.", "trainer.", "seed="} <= set(offered)
    assert not [word for word in offered if word.startswith("hydra")]
    assert "optimizer.name=" not in suggestions("rnnlab train optimizer.")


@pytest.mark.parametrize("words", [*PLAIN, *(f"bench {name}" for name in BENCHMARKS)])
def test_every_option_that_a_help_names_is_offered(words: str, capsys: pytest.CaptureFixture[str]):
    assert main([*words.split(), "--help"]) == 0
    named = set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", capsys.readouterr().out))
    assert named <= {*suggestions(f"rnnlab {words} -")}


def test_files_are_offered_where_a_path_belongs(tmp_path: Path):
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "reviews.csv").write_text("")
    (tmp_path / "my" / "rest").mkdir()
    start = f"rnnlab train task.corpus={tmp_path}/my/r"
    assert suggestions(start) == [f"task.corpus={tmp_path}/my/rest/", f"task.corpus={tmp_path}/my/reviews.csv"]


def test_the_users_own_choices_are_offered(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("cell: gru\n")
    assert suggestions(f"rnnlab train --config-dir {tmp_path} model=m") == ["model=mine"]


def test_every_named_corpus_is_offered_for_its_task():
    from rnnlab.data.corpora import CORPORA, Kind

    tasks = {Kind.TEXT: "next_word", Kind.LABELLED: "sentiment", Kind.TUNES: "music"}
    for kind, task in tasks.items():
        named = {f"task.corpus={corpus.name}" for corpus in CORPORA.values() if corpus.kind is kind}
        assert set(suggestions(f"rnnlab train task={task} task.corpus=")) == {*named, "task.corpus=outputs/"}


@pytest.mark.parametrize(("shell", "end"), [("bash", " "), ("zsh", " "), ("fish", "")])
def test_a_shell_gets_its_answer_as_it_wants_it(
    shell: str, end: str, outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COMP_LINE", "rnnlab evaluate run=music")
    assert complete([f"query={shell}"]) == 0
    assert capsys.readouterr().out == f"run=music-gru{end}\nrun=music-lstm{end}\n"
    (outputs / "music-gru").rename(outputs / "my [x] run")
    monkeypatch.setenv("COMP_LINE", "rnnlab evaluate run=my")
    assert complete([f"query={shell}"]) == 0
    assert capsys.readouterr().out == (r"run=my\ \[x\]\ run" if shell == "bash" else "run=my [x] run") + f"{end}\n"
    monkeypatch.setenv("COMP_LINE", "rnnlab evaluate spl")
    assert complete([f"query={shell}"]) == 0
    assert capsys.readouterr().out == "split=\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_completes_rnnlab_and_can_be_taken_back(shell: str, capsys: pytest.CaptureFixture[str]):
    assert complete([f"install={shell}"]) == 0
    script = capsys.readouterr().out
    assert "rnnlab" in script
    assert "-sc query=" in script
    assert complete([f"uninstall={shell}"]) == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("rnnlab tr", "train "),
        ("rnnlab train -m model=rnn,l", "rnn,lstm "),
        ("rnnlab train optimizer.l", "optimizer.lr="),
    ],
)
def test_bash_puts_in_what_tab_offers(typed: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    complete(["install=bash"])
    script = capsys.readouterr().out
    command = tmp_path / "rnnlab"  # the word that is completed is the program that is asked
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rnnlab "$@"\n')
    command.chmod(0o755)
    # What readline sets; compopt works while it completes only.
    asked = f"""{script}
        compopt() {{ :; }}
        COMP_LINE={shlex.quote(typed)} COMP_POINT={len(typed)} COMP_WORDS=({command}) COMP_CWORD=1
        _rnnlab; printf '%s|' "${{COMPREPLY[@]}}"; complete -p rnnlab"""
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{expected}|complete -o default -F _rnnlab rnnlab")


@pytest.mark.parametrize("argv", [[], ["install=csh"], ["nothing"], ["query="]])
def test_other_shells_are_refused(argv: list[str]):
    with pytest.raises(ConfigError, match="SHELL one of bash, zsh, fish"):
        complete(argv)
