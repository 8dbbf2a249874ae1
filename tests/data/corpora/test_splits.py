from collections import Counter

import pytest

from rnnlab.data.corpora.splits import check_counts, hash_split, normalised_text, split_files
from rnnlab.data.corpora.table import CORPORA
from rnnlab.errors import DataError


def test_the_split_of_a_key_never_changes():
    keys = ("tune 0", "tune 9", "tune 2")
    assert [hash_split(key) for key in keys] == ["train", "valid", "test"]


def test_hash_splits_have_the_shares_on_average():
    counts = Counter(hash_split(f"key {number}") for number in range(20_000))
    # The deviation of a share of a tenth of 20,000 is 0.0021.
    assert counts["valid"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_share_of_zero_gives_nothing_to_that_split():
    assert {hash_split(f"key {number}", test_share=0.0) for number in range(500)} == {"train", "valid"}
    assert {hash_split(f"key {number}", valid_share=0.0, test_share=0.0) for number in range(500)} == {"train"}


def test_copies_of_a_text_meet_whatever_their_case_and_spacing():
    assert normalised_text(" Not\n BAD ") == normalised_text("not bad")


def test_files_are_found_by_the_split_in_their_names(tmp_path):
    for name in (
        "ptb.train.txt",
        "wiki_VALIDATION.txt",
        "test.txt",
        "training-notes.txt",
        "train.csv",
        "train-test.txt",
    ):
        (tmp_path / name).touch()
    names = {split: path.name for split, path in split_files(tmp_path, [".txt"]).items()}
    assert names == {"train": "ptb.train.txt", "valid": "wiki_VALIDATION.txt", "test": "test.txt"}


def test_val_is_valid_and_hidden_files_are_left_alone(tmp_path):
    for name in ("train.txt", "val.txt", "._val.txt", ".valid.txt"):
        (tmp_path / name).touch()
    assert {split: path.name for split, path in split_files(tmp_path, [".txt"]).items()} == {
        "train": "train.txt",
        "valid": "val.txt",
    }


def test_a_folder_of_test_files_alone_is_not_learned_from(tmp_path):
    (tmp_path / "my.test.txt").touch()
    with pytest.raises(DataError, match=r"has my\.test\.txt, but no file named train"):
        split_files(tmp_path, [".txt"])
    (tmp_path / "notes.txt").touch()  # now it may be the name of a text
    assert set(split_files(tmp_path, [".txt"])) == {"test"}


def test_two_files_for_one_split_are_refused(tmp_path):
    for name in ("dev.txt", "valid.txt"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"both dev\.txt and valid\.txt are named valid; keep one"):
        split_files(tmp_path, [".txt"])


def test_counts_that_differ_from_the_table_are_refused():
    check_counts(CORPORA["ptb"], {"train": 929_589, "valid": 73_760, "test": 82_430})
    with pytest.raises(DataError, match="corpus 'ptb': got 82,429 in test, wanted 82,430"):
        check_counts(CORPORA["ptb"], {"train": 929_589, "valid": 73_760, "test": 82_429})
