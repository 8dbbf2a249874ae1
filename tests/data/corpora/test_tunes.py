import pytest

from rnnlab.data.corpora import load_tunes
from rnnlab.errors import DataError


def tune(title, music="ABc d2e|f4 |]", key="G", extra=""):
    return f"X:1\nT:{title}\nM:4/4\n{extra}K:{key}\n{music}\n"


def book(first, last):
    """Tunes with different titles and different music."""
    return "\n".join(tune(f"Tune {n}", music=f"A{n + 2}B|c4|]") for n in range(first, last))


def all_of(corpus):
    return corpus.train + corpus.valid + corpus.test


def test_a_file_of_ones_own_is_split_by_title(tmp_path):
    (tmp_path / "own.abc").write_text(book(0, 200))
    corpus = load_tunes(str(tmp_path / "own.abc"))
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == pytest.approx([160, 20, 20], abs=15)
    assert len(all_of(corpus)) == 200
    assert corpus.skipped == {}


def test_settings_of_one_tune_stay_together(tmp_path):
    settings = "\n".join(
        tune(f"{the}Tune {n}", music=f"{note}{n + 2}|]") for n in range(150) for the, note in (("The ", "A"), ("", "b"))
    )
    (tmp_path / "own.abc").write_text(settings)
    corpus = load_tunes(str(tmp_path / "own.abc"))
    for part in (corpus.train, corpus.valid, corpus.test):
        titles = [text.split("\n")[1].removeprefix("T:").removeprefix("The ") for text in part]
        assert all(titles.count(title) == 2 for title in titles)


def test_what_cannot_be_used_is_left_out_and_counted_by_reason(tmp_path):
    odd = [
        "X:1\nT:No key\nABc\n",
        tune("Bad key", key="Q"),
        tune("Two voices", extra="V:1\nV:2\n"),
        tune("Rests only", music="z4|z4|]"),
        tune("Another title", music="A2 B|c4|]"),
    ]
    (tmp_path / "own.abc").write_text("\n".join([book(0, 100), *odd]))
    corpus = load_tunes(str(tmp_path / "own.abc"))
    assert corpus.skipped == {
        "no key (K:)": 1,
        "unreadable key (K:)": 1,
        "several voices": 1,
        "no note": 1,
        "a copy of another tune": 1,
    }
    assert len(all_of(corpus)) == 100


@pytest.mark.parametrize("key", ["G", "Am", "F#", "Bb", "E Minor", "Edor", "A mix", "D clef=bass", "none", "HP", ""])
def test_keys_of_the_standard_are_read(tmp_path, key):
    (tmp_path / "own.abc").write_text(book(0, 100) + "\n" + tune("Keyed", key=key))
    assert load_tunes(str(tmp_path / "own.abc")).skipped == {}


def test_a_folder_is_read_with_its_subfolders(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.abc").write_text(book(0, 60))
    (tmp_path / "inner" / "b.ABC").write_text(book(60, 120))
    assert len(all_of(load_tunes(str(tmp_path)))) == 120


def test_a_folder_with_named_splits_uses_them_and_keeps_copies_out_of_train(tmp_path):
    (tmp_path / "train.abc").write_text(book(0, 20))
    (tmp_path / "valid.abc").write_text(book(18, 22))
    (tmp_path / "test.abc").write_text(book(21, 25))
    corpus = load_tunes(str(tmp_path))
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [18, 3, 4]
    assert corpus.skipped == {"a copy of another tune": 3}


def test_lyrics_comments_and_accents_do_no_harm(tmp_path):
    text = "% a book\n\n" + book(0, 100) + "\nX:9 % nine\nT:Ré\nK:D\nABc|\nw:la la lá\n% end"
    (tmp_path / "own.abc").write_text(text, encoding="utf-8")
    (last,) = [text for text in all_of(load_tunes(str(tmp_path / "own.abc"))) if "T:R" in text]
    assert last == "X:1\nT:Ré\nK:D\nABc|\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("just words\n", "has no tune: no line starts with X:"),
        ("X:1\nT:a\nABc\n", r"has no tune that can be used; left out: no key \(K:\): 1"),
        (tune("Alone"), "nothing fell into the .* split, got 1 in all; give more tunes"),
        ("\n".join([tune("Alone")] * 3), "got 1 in all; left out: a copy of another tune: 2; give more tunes"),
        (
            "\n".join(tune("Same", "A" * n) for n in range(1, 9)),
            "got 8 in all; all have one title, and settings of one",
        ),
    ],
)
def test_a_file_without_enough_tunes_is_refused(tmp_path, text, message):
    (tmp_path / "own.abc").write_text(text)
    with pytest.raises(DataError, match=message):
        load_tunes(str(tmp_path / "own.abc"))


def test_a_folder_without_tunes_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no \.abc file"):
        load_tunes(str(tmp_path))


def test_trad_tunes_has_known_splits_without_a_common_title():
    pytest.importorskip("music21", reason="needs the extra corpora")
    corpus = load_tunes("trad-tunes")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [3_490, 413, 473]
    assert sum(corpus.skipped.values()) == 4_433 - 3_490 - 413 - 473
    assert all(text.startswith("X:1\n") and text.endswith("\n") for text in corpus.test)
