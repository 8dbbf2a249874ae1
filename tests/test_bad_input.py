"""What a user can get wrong, through the command line: an exit code and one line that says what would be right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rnnlab.cli import main
from rnnlab.config import COMMANDS, SCHEMAS, TrainerConfig
from rnnlab.json_files import read_json, write_json
from rnnlab.run_lock import lock_run
from rnnlab.schema import Setting, settings

Tell = Callable[..., str]
OPTION, DATA, CHECKPOINT, DIVERGED, CANNOT_WRITE, IN_USE = 2, 3, 4, 5, 7, 8


@pytest.fixture
def tell(capsys) -> Tell:
    """Run a command line that must fail: `tell(2, "train", "modle=lstm")` gives its error line."""

    def run(exit_code: int, *argv: str) -> str:
        capsys.readouterr()
        code = main(list(argv))
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("error: ")
        assert code == exit_code, lines[-1]
        assert sum(line.startswith("error: ") for line in lines) == 1
        return lines[-1].removeprefix("error: ")

    return run


# --- settings ---------------------------------------------------------------------------------------------------------

SETTINGS = [
    (["train", "modle=lstm"], "unknown setting modle; did you mean model"),
    (["train", "model=lstmm"], "did you mean lstm? choose one of gru, irnn, lstm, rnn"),
    (["train", "lr=3"], "unknown setting lr; did you mean optimizer.lr?"),
    (["train", "optimizer.lr=nan"], "optimizer.lr must be a finite number, got nan"),
    (["train", "trainer.batch_size=1.5"], "trainer.batch_size must be a whole number, got 1.5"),
    (["train", "task=next_word", "model.bidirectional=true"], "model.bidirectional=true cannot go with task=next_word"),
    (["train", "task.text_column=label"], "task.text_column and task.label_column must differ, got 'label' for both"),
    (["train", "--lr=3"], "unknown option --lr=3; settings go without --: optimizer.lr=..."),
    (["train", "optimizer..lr=1"], "optimizer..lr=1: optimizer..lr is no setting's name"),
    (["train", "task.corpus=a,b.csv"], """if the comma belongs to it: 'task.corpus="a,b.csv"'"""),
    (["train", "task.corpus=a (1).csv"], """put it in quotes: 'task.corpus="a (1).csv"'"""),
    (["train", "name=/tmp/x"], "name must be a folder under"),
    (["train", "name=../x"], "name '../x' cannot be a run's folder"),
    (["train", "name=-x"], "none that begins with a dot or a dash"),
    (["evaluate"], "evaluate needs run=NAME; rnnlab runs lists them"),
    (["evaluate", "run=a", "split=tests"], "split must be one of train, valid, test, got 'tests'; did you mean test?"),
    (["predict", "run=a"], "predict reads text=... or file=... (- is standard input), got neither; give one"),
    (["predict", "run=a", "text=b", "file=c"], "got both; give one"),
    (["generate", "run=a", "temperature=-1"], "temperature must be at least 0, got -1.0"),
]


@pytest.mark.parametrize(("argv", "message"), SETTINGS, ids=[" ".join(argv) for argv, _ in SETTINGS])
def test_a_wrong_setting_is_told_before_anything_is_read(argv, message, tell, outputs):
    assert message in tell(OPTION, *argv)
    assert not outputs.exists()


def numeric_settings() -> dict[str, Setting]:
    """Every numeric setting of every command and choice."""
    found = {f"{command} {key}": setting for command, schema in COMMANDS.items() for key, setting in _numbers(schema)}
    for group, schemas in {**SCHEMAS, "trainer": {"trainer": TrainerConfig}}.items():
        found |= {f"{group}={name} {key}": entry for name, schema in schemas.items() for key, entry in _numbers(schema)}
    return found


def _numbers(schema: type) -> list[tuple[str, Setting]]:
    return [(key, setting) for key, setting in settings(schema).items() if setting.kind in (int, float)]


WRONG_NUMBERS = [float("nan"), float("inf"), -float("inf"), -1e308, 1e308, 2**63, -(2**63), True, "", "abc", "5", [1]]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=repr)
def test_no_numeric_setting_takes_it(value):
    from rnnlab.commandline.overrides import type_problem

    taken = [
        name
        for name, setting in numeric_settings().items()
        if type_problem(setting, value) is None and setting.problem(value) is None
    ]
    assert len(numeric_settings()) > 50
    assert not taken


# --- corpora ----------------------------------------------------------------------------------------------------------

ROWS = "".join(f"word{n % 7} good day {n},{'pos' if n % 2 else 'neg'}\n" for n in range(60))
TABLES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty, wanted text"),
    "white space": (b" \n \n", "is white space only, wanted text"),
    "not UTF-8": (b"text,label\ncaf\xe9,pos\n", "line 2, byte 4 of the line, offset 14 in the file: byte 0xe9 is not"),
    "NUL": (b"text,label\ngo\0od,pos\n", "line 2, byte 3 of the line, offset 13 in the file: a NUL byte, wanted text"),
    "UTF-16": ("text,label\n".encode("utf-16"), "is UTF-16 or UTF-32, wanted UTF-8; convert it: iconv"),
    "header alone": (b"text,label\n", "has no row of data"),
    "no header": (ROWS.encode(), "line 1: no column 'text'; there are 'word0 good day 0', 'neg'"),
    "column missing": (b"review,label\n" + ROWS.encode(), "line 1: no column 'text'; there are 'review', 'label'"),
    "column twice": (b"text,text,label\na,b,pos\n", "column 'text' is there 2 times, wanted once"),
    "field too many": (b"text,label\ngood, really,pos\n", "line 2: got 3 fields, wanted 2 as in the header"),
    "open quote": (b'text,label\n"good,pos\nbad,neg\n', "row that starts in line 2: a quote is not closed"),
    "empty text": (b"text,label\ngood,pos\n,neg\n", "line 3: empty text in column 'text'; remove the row"),
    "empty label": (b"text,label\ngood,pos\nbad,\n", "line 3: empty label in column 'label'; remove the row"),
    "no words": (b"text,label\n" + ROWS.encode() + b"***,pos\n", "no word to read in '***', a text of"),
    "one class": (b"text,label\n" + ROWS.replace("neg", "pos").encode(), "wanted at least two labels, got only 'pos'"),
    "two rows": (b"text,label\ngood,pos\nbad,neg\n", "nothing fell into the test split, got 2 in all; give more rows"),
}
TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty, wanted text"),
    "not UTF-8": (b"one two\nca\xff\n", "line 2, byte 3 of the line, offset 10 in the file: byte 0xff is not UTF-8"),
    "UTF-16 without its mark": ("one two".encode("utf-16-le"), "a NUL byte, wanted text; is this a binary file, or"),
    "too short": (b"a b c\n", "is too short: got 4 tokens, wanted at least 10"),
    "rare words": (b"one two three four five six seven eight\n" * 2, "nothing to learn: got 0 different tokens seen"),
    "shorter than a batch": (b"one two one two one two one two\n" * 2, "use a smaller trainer.batch_size or more text"),
}
TUNES: dict[str, tuple[bytes, str]] = {
    "no X:": (b"T:A tune\nK:D\nABc|\n", "has no tune: no line starts with X:"),
    "no K:": (b"X:1\nT:A tune\nABc|\n", "has no tune that can be used; left out: no key (K:): 1"),
    "one tune": (b"X:1\nT:A tune\nK:D\nABc def|\n", "split, got 1 in all; give more tunes"),
}


@pytest.mark.parametrize(
    ("task", "suffix", "case"),
    [
        *(("sentiment", ".csv", case) for case in TABLES),
        *(("next_word", ".txt", case) for case in TEXTS),
        *(("music", ".abc", case) for case in TUNES),
    ],
)
def test_a_bad_corpus_is_told_with_its_place_and_leaves_no_run(task, suffix, case, train, tmp_path, outputs, capsys):
    content, message = {"sentiment": TABLES, "next_word": TEXTS, "music": TUNES}[task][case]
    path = tmp_path / f"corpus{suffix}"
    path.write_bytes(content)
    more = ["trainer.batch_size=100"] if case == "shorter than a batch" else []
    train(task, f"task.corpus={path}", *more, exit_code=DATA)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert message in line
    assert not outputs.exists()


@pytest.mark.parametrize(
    ("task", "corpus", "message"),
    [
        ("sentiment", "moviereviews", "did you mean 'movie-reviews'?"),
        ("next_word", "sotuu", "did you mean 'sotu'?"),
        ("sentiment", "ptb", "corpus 'ptb' is running text, wanted labelled texts: movie-reviews, imdb"),
        ("music", "movie-reviews", "is labelled texts, wanted tunes: trad-tunes, or an .abc file"),
        ("sentiment", "/dev/null", "/dev/null is a pipe or a device, wanted a regular file"),
        ("sentiment", "EMPTY", "got 0 such files and none named train"),
        ("next_word", "EMPTY", "has no text file, wanted names that end in .txt"),
        ("music", "EMPTY", "has no .abc file"),
    ],
)
def test_a_corpus_that_is_not_there_or_of_another_kind(task, corpus, message, tell, tmp_path):
    (tmp_path / "folder").mkdir()
    corpus = corpus.replace("EMPTY", str(tmp_path / "folder"))
    assert message in tell(DATA, "train", f"task={task}", f"task.corpus={corpus}")


# --- what this machine cannot do --------------------------------------------------------------------------------------


def test_a_device_that_is_not_there(finished, tell, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "device=cuda is not available here, cpu is" in tell(OPTION, "train", "trainer.device=cuda")
    assert "device=cuda is not available here" in tell(OPTION, "evaluate", "run=music", "device=cuda")


def test_a_backend_that_is_not_in_this_build(train, capsys, monkeypatch):
    from rnnlab.tasks.music import Music

    def refuse(self: Music, config: object) -> None:
        raise ValueError("backend 'triton' is not in this build of rnnlab")

    monkeypatch.setattr(Music, "build_model", refuse)
    train("music", exit_code=OPTION)
    assert capsys.readouterr().err.endswith("error: model: backend 'triton' is not in this build of rnnlab\n")


def test_a_rate_that_explodes_ends_the_run_with_advice(train, capsys):
    blow_up = ["model=irnn", "optimizer=sgd", "optimizer.lr=1e6", "trainer.clip_grad_norm=null"]
    folder = train("music", *blow_up, "trainer.max_steps=50", "trainer.max_epochs=50", exit_code=DIVERGED)
    told = capsys.readouterr().err.splitlines()[-1]
    assert "after 2 roll-backs with half the rate each; the last checkpoint is intact" in told
    assert "Try optimizer.lr=100000 (now 1e+06)" in told
    result = read_json(folder / "result.json")
    assert (result["status"], result["exit_code"]) == ("failed", DIVERGED)


def test_outputs_that_is_a_file_cannot_be_written_to(train, outputs, capsys):
    outputs.write_text("")
    train("music", exit_code=CANNOT_WRITE)
    assert "set RNNLAB_OUTPUTS to another folder" in capsys.readouterr().err


def test_a_file_of_tunes_that_cannot_be_written_does_not_cost_the_tunes(finished, tmp_path, capsys):
    (tmp_path / "tunes.abc").mkdir()
    assert main(["generate", "run=music", f"output={tmp_path}/tunes.abc", "length=5", "prompt=X:1"]) == CANNOT_WRITE
    told = capsys.readouterr()
    assert told.out.startswith("X:1")
    assert f"cannot write {tmp_path}/tunes.abc: Is a directory" in told.err


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "exit_code", "message"),
    [
        (["evaluate", "run=musik"], CHECKPOINT, "no run 'musik'; did you mean music? rnnlab runs lists them"),
        (["train", "resume=musik"], CHECKPOINT, "no run 'musik'; did you mean music? rnnlab runs lists them"),
        (["evaluate", "music"], OPTION, "music: a setting is key=value; did you mean run=music?"),
        (["evaluate", "run=sentiment", "tunes=3"], OPTION, "tunes=3 needs a run of task=music, sentiment is sentiment"),
        (["generate", "run=sentiment"], OPTION, "a run of task=sentiment, which writes nothing; try rnnlab predict"),
        (["generate", "run=next_word", "output=x.txt"], OPTION, "output is for tunes, next_word is a run of task="),
        (["generate", "run=music", "prompt=ℵ"], DATA, "characters that no training tune has: 'ℵ'; leave them out"),
        (["predict", "run=sentiment", "text=***"], DATA, "text 1 has no word to read: '***'"),
        (["predict", "run=sentiment", "file=/nope"], DATA, "cannot read /nope: No such file or directory"),
        (["predict", "run=sentiment", "file=/"], DATA, "/ is a folder, wanted a file"),
        (
            ["train", "resume=music", "seed=3", "model.cell=gru"],
            OPTION,
            "seed and model.cell cannot change: resume goes",
        ),
        (["train", "name=music"], IN_USE, "there is a run 'music' in"),
        (["train", "name=music/inner"], OPTION, "name 'music/inner' lies inside the run 'music'"),
    ],
)
def test_a_run_asked_for_what_it_cannot_do(argv, exit_code, message, finished, tell):
    assert message in tell(exit_code, *argv)


def change(path: Path, **changes: object) -> None:
    """Change a JSON file; a dotted name with __ for the dots reaches inside."""
    content = read_json(path)
    for key, value in changes.items():
        *sections, last = key.split("__")
        inside = content
        for section in sections:
            inside = inside[section]
        inside[last] = value
    write_json(path, content)


def flip(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(run: Path) -> None:
    """Put another run's checkpoints, whole and verified, in the place of this one's."""
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(run.parent / "next_word/checkpoints", run / "checkpoints", symlinks=True)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "run.json cut": (lambda run: (run / "run.json").write_text('{"for'), "run.json is damaged: not JSON"),
    "run.json a list": (lambda run: (run / "run.json").write_text("[]"), "wanted a JSON object, got list"),
    "run.json empty": (lambda run: (run / "run.json").write_text("{}"), "cannot be read: there is no 'format'"),
    "newer format": (lambda run: change(run / "run.json", format=2), "cannot be read: format 2, wanted 1"),
    "size out of range": (
        lambda run: change(run / "run.json", config__model__hidden_size=-1),
        "model.hidden_size must be at least 1, got -1",
    ),
    "unknown setting": (
        lambda run: change(run / "run.json", config__model__hiden_size=3),
        "unknown setting model.hiden_size",
    ),
    "other settings": (
        lambda run: change(run / "run.json", config__model__hidden_size=7),
        "decoder_weight is (31, 6), wanted (31, 7) (5 of 7 differ)",
    ),
    "vocabulary cut": (lambda run: (run / "vocabulary.json").write_text("{"), "vocabulary.json is damaged: not JSON"),
    "vocabulary twice": (
        lambda run: change(run / "vocabulary.json", tokens=["a", "a"]),
        "music: vocabulary.json is damaged: tokens must be distinct, got 'a' 2 times",
    ),
    "vocabulary of another task": (
        lambda run: shutil.copy(run.parent / "next_word/vocabulary.json", run / "vocabulary.json"),
        "vocabulary.json is of task 'next_word'",
    ),
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), "no checkpoint 'best'"),
    "weights of another run": (foreign, "does not belong to the run: its vocabulary has hash"),
    "flipped bit": (
        lambda run: flip(run / "checkpoints/best/model.safetensors"),
        "is damaged: its checksum is not the manifest's",
    ),
    "no manifest": (lambda run: (run / "checkpoints/best/manifest.json").unlink(), "is not a whole checkpoint"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_run_is_told_and_used_for_nothing(case, finished, tell):
    damage, message = DAMAGE[case]
    damage(finished / "music")
    assert message in tell(CHECKPOINT, "generate", "run=music", "length=3")


def test_a_runs_settings_are_data_and_never_look_into_the_environment(finished, tell):
    change(finished / "music/run.json", config__task__corpus="${oc.env:HOME}")
    assert "no corpus '${oc.env:HOME}' and no such file" in tell(DATA, "evaluate", "run=music")


@pytest.mark.parametrize("case", ["no checkpoint", "weights of another run"])
def test_a_resume_that_cannot_start_leaves_the_runs_result_as_it_was(case, finished, tell):
    damage, _ = DAMAGE[case]
    damage(finished / "music")
    before = (finished / "music/result.json").read_bytes()
    tell(CHECKPOINT, "train", "resume=music")
    assert (finished / "music/result.json").read_bytes() == before


def test_a_damaged_result_is_listed_and_the_run_still_works(finished, capsys):
    (finished / "music/result.json").write_text('{"sta')
    assert main(["runs", "--json"]) == 0
    status = {row["name"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert status == {"music": "damaged", "next_word": "done", "sentiment": "done"}
    assert main(["generate", "run=music", "length=3"]) == 0


@pytest.mark.parametrize("argv", [["evaluate", "run=run"], ["train", "resume=run"]])
def test_a_corpus_that_changed_since_training_is_refused(argv, train, corpora, tmp_path, tell):
    copy = tmp_path / "words.txt"
    copy.write_bytes(corpora["next_word"].read_bytes())
    train("next_word", f"task.corpus={copy}")
    copy.write_bytes(corpora["next_word"].read_bytes() + b"the cat sat\n")
    assert "is not the one run was trained on" in tell(CHECKPOINT, *argv)


def test_a_run_in_use_is_refused_at_once(finished, tell):
    with lock_run(finished / "music"):
        assert f"is in use by process {os.getpid()}" in tell(IN_USE, "train", "resume=music", "trainer.max_steps=9")


# --- a real process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "exit_code", "message"),
    [
        (["train", "modle=lstm"], OPTION, "unknown setting modle"),
        (["evaluate", "run=nope"], CHECKPOINT, "no run 'nope': there are no runs in"),
        (["train", "task.corpus=nope.csv"], DATA, "no corpus 'nope.csv' and no such file or folder"),
    ],
)
def test_a_process_ends_with_the_code_and_the_line(argv, exit_code, message, outputs):
    done = subprocess.run([sys.executable, "-m", "rnnlab", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == exit_code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
