"""Corpora that are odd, damaged or hostile: read and reported where that is right, else exit 3 with file and place."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnlab.cli import main

DATA = 3
Give = Callable[..., str]


@pytest.fixture
def give(tmp_path: Path, outputs: Path, train: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Give:
    """Build everything for a corpus with this content and write no run: what was told."""

    def run(task: str, suffix: str, content: bytes | str | None, code: int = 0) -> str:
        path = tmp_path / f"corpus{suffix}"
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        capsys.readouterr()
        settings = [f"task.corpus={path}", "trainer.batch_size=2", "dry_run=true"]
        train(task, *settings, exit_code=code)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert sum(line.startswith("error: ") for line in told.splitlines()) == (code != 0)
        assert not outputs.exists()
        return told

    return run


HEADER = "text,label\n"
ROWS = "".join(f"word{n % 7} good day {n},{'pos' if n % 2 else 'neg'}\n" for n in range(60))
JSON = "".join(f'{{"text": "word{n % 7} good {n}", "label": "{"ab"[n % 2]}"}}\n' for n in range(60))
TEXT = "the cat sat on the mat\n" * 40


def tune(number: int, key: str = "D", extra: str = "", body: str = "ABc def|") -> str:
    notes = "AB" * (number % 5 + 1) + "cdefg"[number % 5] + str(number)
    return f"X:{number}\nT:Tune {number}\n{extra}M:4/4\nK:{key}\n{body} {notes}|\n\n"


TUNES = "".join(map(tune, range(80)))

# What is read: content, and what is said of it.
READ = {
    "byte order mark": ("sentiment", ".csv", "\ufeff" + HEADER + ROWS, "removed the byte order mark at the start"),
    "CRLF": ("sentiment", ".csv", (HEADER + ROWS).replace("\n", "\r\n"), "read CRLF or CR line ends as LF"),
    "CR": ("next_word", ".txt", TEXT.replace("\n", "\r"), "read CRLF or CR line ends as LF"),
    "U+2028 in a field": ("sentiment", ".csv", HEADER + ROWS + "good\u2028word1,pos\n", ""),
    "a field above the csv module's limit": ("sentiment", ".csv", HEADER + ROWS + "x" * 140_000 + " word1,pos\n", ""),
    "labels with blanks and quotes": (
        "sentiment",
        ".csv",
        HEADER + ROWS + 'word1 good day," pos"\nword2 a day,"neg "\n',
        "",
    ),
    "no newline at the end": ("next_word", ".txt", TEXT[:-1], ""),
    "one long line": ("next_word", ".txt", "one two three " * 70_000, "tokens to train on"),
    "a tune with no key we know": (
        "music",
        ".abc",
        TUNES + tune(99, key="ZZ"),
        "1 tunes, unreadable key",
    ),
    "a tune without a key": ("music", ".abc", TUNES + "X:99\nT:No key\nABc|\n\n", "left out: 1 tunes, no key (K:)"),
    "two voices": (
        "music",
        ".abc",
        TUNES + tune(99, body="[V:1] A|\n[V:2] d|"),
        "left out: 1 tunes, several",
    ),
    "a tune with lyrics": ("music", ".abc", TUNES + tune(99, body="ABc|\nw: la la la\nW: more"), ""),
    "signs outside ASCII": ("music", ".abc", TUNES + tune(99, extra="C:Čiurlionis\n", body='"♯"ABc "Für Elise"|'), ""),
    "2,000 tunes": ("music", ".abc", "".join(map(tune, range(2000))), "tunes to train on"),
}

# What is refused: content, and where and why.
REFUSED = {
    "UTF-32": ("next_word", ".txt", TEXT.encode("utf-32"), "is UTF-16 or UTF-32, wanted UTF-8; convert it"),
    "a byte behind a byte order mark": (
        *("next_word", ".txt", b"\xef\xbb\xbfab\n\xff\n"),
        "line 2, byte 1 of the line, offset 6 in the file: byte 0xff is not UTF-8",
    ),
    "white space of all kinds": ("next_word", ".txt", "\x0c\x0b\u2028\u00a0", "is white space only, wanted text"),
    "one word": ("next_word", ".txt", "a " * 500, "corpus.txt: nothing to learn: got 1 different tokens"),
    "one endless word": ("next_word", ".txt", "x" * 1_000_000, "is too short: got 2 tokens, wanted at least 10"),
    "text after a quote": (
        "sentiment",
        ".csv",
        HEADER + 'a good day,pos\n"good"x,pos\n',
        "starts in line 3: not valid CSV",
    ),
    "an open quote": (
        "sentiment",
        ".csv",
        HEADER + ROWS + '"good,pos\n' + ROWS,
        "line 62: a quote is not closed",
    ),
    "another delimiter": ("sentiment", ".csv", "text;label\na;b\n", "no column 'text'; there are 'text;label'"),
    "a field too few": ("sentiment", ".csv", HEADER + "good day\n", "line 2: got 1 fields, wanted 2 as in the header"),
    "an invisible label": (
        "sentiment",
        ".csv",
        HEADER + ROWS + "good,\u200b\n",
        "line 62: the label '\\u200b'",
    ),
    "a label of two lines": (
        "sentiment",
        ".csv",
        HEADER + 'good,"a\nb"\n',
        "line 2: the label 'a\\nb', which",
    ),
    "texts in the label's column": (
        *("sentiment", ".csv", HEADER + f"pos,{'a good day ' * 30}\n"),
        "line 2: a label of 329 characters, wanted at most 200, in column 'label'; is it the right column?",
    ),
    "a label not in train": (
        *("sentiment", ".csv", HEADER + "".join(f"word{n % 7} good {n},{n}\n" for n in range(60))),
        "of valid is not in train, which has",
    ),
    "an array a line": ("sentiment", ".jsonl", '["a", "b"]\n', 'line 1: got ["a", "b"]; wanted one JSON object a line'),
    "half a character": (
        "sentiment",
        ".jsonl",
        JSON + '{"text": "\\ud800 a", "label": "a"}',
        "line 61: 'text' holds",
    ),
    "half a label": (
        "sentiment",
        ".jsonl",
        '{"text": "a", "label": "\\udfff"}',
        "line 1: 'label' holds",
    ),
    "an escaped NUL": ("sentiment", ".jsonl", '{"text": "a\\u0000b", "label": "a"}', "line 1: 'text' holds '\\x00'"),
    "a switch for a text": (
        "sentiment",
        ".jsonl",
        '{"text": true, "label": "a"}',
        "line 1: 'text' must be",
    ),
    "a fraction for a label": (
        "sentiment",
        ".jsonl",
        '{"text": "a", "label": 1.5}',
        "a whole number, true or false, got 1.5",
    ),
    "two equal keys": (
        "sentiment",
        ".jsonl",
        '{"text": "a", "text": "b", "label": "a"}',
        "key 'text' is there twice",
    ),
    "brackets without end": ("sentiment", ".jsonl", "[" * 100_000, "line 1: not JSON"),
    "a number without end": ("sentiment", ".jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: not JSON"),
    "only headers of tunes": (
        "music",
        ".abc",
        "X:1\n" * 500,
        "has no tune that can be used; left out: no key (K:): 500",
    ),
    "no note": ("music", ".abc", "X:1\nK:D\n| z z |\n", "has no tune that can be used; left out: no note: 1"),
    "tunes longer than max_len": (
        "music",
        ".abc",
        "".join(tune(n, body="A" * 2000) for n in range(80)),
        "task.max_len=2000",
    ),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_only_odd_is_read_and_reported(case: str, give: Give):
    task, suffix, content, message = READ[case]
    assert message in give(task, suffix, content)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_place(case: str, give: Give):
    task, suffix, content, message = REFUSED[case]
    line = give(task, suffix, content, DATA).splitlines()[-1]
    assert message in line
    assert f"corpus{suffix}" in line
    assert len(line) < 1100


@pytest.mark.parametrize(("task", "suffix"), [("sentiment", ".csv"), ("next_word", ".txt"), ("music", ".abc")])
def test_what_is_no_file_is_not_waited_for(task: str, suffix: str, give: Give, tmp_path: Path):
    path = tmp_path / f"corpus{suffix}"
    os.mkfifo(path)
    assert "is a pipe or a device, wanted a regular file" in give(task, suffix, None, DATA)
    path.unlink()
    path.symlink_to(path.name)
    assert "Too many levels of symbolic links" in give(task, suffix, None, DATA)
    path.unlink()
    (path / f"train{suffix}").mkdir(parents=True)
    assert f"train{suffix} is a folder, wanted a file" in give(task, suffix, None, DATA)


def test_a_folder_of_many_small_files_is_one_text(give: Give, tmp_path: Path):
    folder = tmp_path / "corpus.d"
    folder.mkdir()
    for number in range(1000):
        (folder / f"{number:04d}.txt").write_text("the cat sat\n")
    told = give("next_word", ".d", None)
    assert "3,200 tokens to train on, 400 valid, 400 test" in told
    (folder / "0500.txt").write_bytes(b"the\xff")
    assert "0500.txt, line 1, byte 4 of the line, offset 3 in the file" in give("next_word", ".d", None, DATA)


def test_a_text_on_both_sides_is_taken_out_of_training(give: Give, tmp_path: Path):
    folder = tmp_path / "corpus.d"
    folder.mkdir()
    (folder / "train.csv").write_text(HEADER + ROWS)
    (folder / "valid.csv").write_text(HEADER + ROWS.split("\n")[0] + "\n")
    (folder / "test.csv").write_text(HEADER + "\n".join(ROWS.split("\n")[1:3]))
    told = give("sentiment", ".d", None)
    assert "2 texts of train also stand in test and were removed from train" in told
    assert "1 texts of train also stand in valid and were removed from train" in told


# --- a finished run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["ℵ", "\udcff", "\u202e", "\0", "x" * 5000])
def test_a_symbol_that_no_tune_has_is_told(text: str, finished: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    for argv in (["generate", "run=music", "length=3", f"prompt={text}"], ["predict", "run=music", f"text={text}"]):
        assert main(argv) == DATA
        told = capsys.readouterr().err.splitlines()
        assert "the prompt holds characters that no training tune has" in told[-1]
        assert all(line.isprintable() for line in told)


@pytest.mark.parametrize("text", ["ℵ zebra", "\udcff", "\u2028", "x" * 5000, "${oc.env:HOME}", ""])
def test_words_unseen_are_read_as_unknown_and_counted(text: str, finished: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(["predict", "run=next_word", f"text={text}", "--json"]) == 0
    assert main(["generate", "run=next_word", f"prompt={text}", "length=2"]) == 0
    told = capsys.readouterr()
    if text == "ℵ zebra":
        assert '"unknown_tokens": 2' in told.out
        assert "unknown to this run, read as <unk>: ℵ zebra" in told.err


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"\xef\xbb\xbfthe cat\n", 0, "removed the byte order mark"),
        (b"the cat\r\non a mat\r\n", 0, "read CRLF or CR line ends as LF"),
        (b"the\0cat", DATA, "offset 3 in the file: a NUL byte"),
        (b"caf\xe9", DATA, "line 1, byte 4 of the line, offset 3 in the file: byte 0xe9 is not UTF-8"),
        ("the".encode("utf-16"), DATA, "is UTF-16 or UTF-32"),
        (b"", DATA, "is empty, wanted text"),
        (b"the cat\n***\n", DATA, "text 2 has no word to read: '***'"),
    ],
)
def test_a_file_to_predict_from_is_read_as_strictly(
    content: bytes,
    code: int,
    message: str,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    # As in a process that has trained nothing: warnings go to stderr, not to pytest's handlers at the root.
    monkeypatch.setattr(logging.getLogger("rnnlab"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", False)
    (tmp_path / "texts").write_bytes(content)
    capsys.readouterr()
    assert main(["predict", "run=sentiment", f"file={tmp_path / 'texts'}", "--json"]) == code
    told = capsys.readouterr()
    assert message in told.err
    assert len(told.out.splitlines()) == (content.count(b"\n") if code == 0 else 0)
