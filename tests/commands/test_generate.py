"""`rnnlab generate`: texts to the terminal, tunes to files too; the same seed gives the same."""

from __future__ import annotations

import json

import pytest

from rnnlab.cli import main
from rnnlab.data.abc import split_tunes

WRITERS = ["next_word", "music"]


def generated(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Generate and return the texts that are printed as JSON."""
    capsys.readouterr()
    assert main(["generate", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["texts"]


@pytest.mark.parametrize("task", WRITERS)
def test_the_seed_decides_what_is_written(task, finished, capsys):
    first = generated(capsys, f"run={task}", "length=20", "count=3", "seed=1")
    assert len(first) == 3
    assert len(set(first)) > 1, "samples of one seed differ"
    assert generated(capsys, f"run={task}", "length=20", "count=3", "seed=1") == first
    assert generated(capsys, f"run={task}", "length=20", "count=3", "seed=2") != first


@pytest.mark.parametrize("task", WRITERS)
def test_without_chance_every_sample_is_the_likeliest(task, finished, capsys):
    likeliest = generated(capsys, f"run={task}", "length=10", "temperature=0")
    for greedy in ("temperature=0", "top_k=1", "temperature=0.000001", "top_p=0.000001"):
        assert generated(capsys, f"run={task}", "length=10", greedy, "count=2", "seed=9") == likeliest * 2


def test_a_text_begins_with_its_prompt_and_ends_after_its_length(finished, capsys):
    (text,) = generated(capsys, "run=next_word", "prompt=The OLD cat,", "length=5")
    assert text.startswith("the old cat")
    assert len(text.split()) <= 3 + 1 + 5
    (tune,) = generated(capsys, "run=music", "prompt=X:1\\nT:Tune", "length=5")
    assert tune.startswith("X:1\nT:Tune")
    assert len(tune) <= len("X:1\nT:Tune") + 5


def test_a_top_k_beyond_the_vocabulary_is_all_of_it(finished, capsys):
    every = generated(capsys, "run=music", "length=20")
    assert generated(capsys, "run=music", "length=20", "top_k=1000000") == every


def test_tunes_are_written_where_abc_programs_read_them(finished, capsys):
    assert main(["generate", "run=music", "count=2", "length=30", "seed=5", "prompt=X:9\\nK:D\\n"]) == 0
    path = finished / "music/samples/tunes-1.abc"
    told = capsys.readouterr()
    assert told.err.endswith(f"written: {path}\n")
    assert told.out.count("K:D") == 2
    tunes = split_tunes(path.read_text())
    assert [tune.splitlines()[:2] for tune in tunes] == [["X:1", "K:D"], ["X:2", "K:D"]]


def test_tunes_go_to_the_file_that_is_asked_for(finished, tmp_path, capsys):
    path = tmp_path / "new folder/mine, 2.abc"
    assert main(["generate", "run=music", "length=5", f"output={path}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(path)
    assert path.read_text().startswith("X:1\n")
    assert not list((finished / "music/samples").glob("*.abc"))


def test_text_is_printed_alone_on_stdout_and_writes_nothing(finished, capsys):
    before = sorted(path.name for path in (finished / "next_word").iterdir())
    assert main(["generate", "run=next_word", "prompt=the cat", "length=3"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("the cat ")
    assert told.err == ""
    assert sorted(path.name for path in (finished / "next_word").iterdir()) == before


def test_the_same_seed_twice_keeps_both_files(finished):
    for _ in range(2):
        assert main(["generate", "run=music", "length=5"]) == 0
    assert {path.name for path in (finished / "music/samples").glob("*.abc")} == {"tunes-1.abc", "tunes-2.abc"}


def test_words_a_run_does_not_know_are_named(finished, capsys):
    assert main(["generate", "run=next_word", "prompt=the zebra sat", "length=2"]) == 0
    assert "unknown to this run, read as <unk>: zebra" in capsys.readouterr().err


def test_a_folder_gets_notation_midi_sound_and_a_page(finished, tmp_path, capsys, monkeypatch):
    from rnnlab.tasks.music import Music

    tunes = ["X:7\nT:One\nM:4/4\nL:1/8\nK:D\nA2 B2|\n", "X:1\nhello\n"]
    monkeypatch.setattr(Music, "generate", lambda *arguments, **settings: tunes)
    folder = tmp_path / "my tunes"
    assert main(["generate", "run=music", "count=2", f"output={folder}/"]) == 0
    told = capsys.readouterr()
    assert "A2 B2" in told.out
    assert "tune 2 has no sound: the tune has no key" in told.err
    assert told.err.endswith(f"written: 4 files in {folder}; hear them: {folder}/tunes.html\n")
    assert {path.name for path in folder.iterdir()} == {"tunes.abc", "tune-1.mid", "tune-1.wav", "tunes.html"}
    assert (folder / "tune-1.mid").read_bytes().startswith(b"MThd")
    assert (folder / "tune-1.wav").read_bytes().startswith(b"RIFF")
    assert "<title>Tunes of music</title>" in (folder / "tunes.html").read_text(encoding="utf-8")


def test_a_file_of_another_kind_is_refused_before_anything_is_drawn(finished, capsys):
    assert main(["generate", "run=music", "output=tunes.mid"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "output must be a file .abc or a folder, got 'tunes.mid'; a folder's name may end with /" in told.err
