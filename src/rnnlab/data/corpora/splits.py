"""Which rows train, which validate, which test: decided by content, so that equal items never part."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from rnnlab.data.corpora.table import Corpus
from rnnlab.data.text import list_files
from rnnlab.errors import DataError

SPLITS = ("train", "valid", "test")
VALID_SHARE = 0.1
TEST_SHARE = 0.1

_SPLIT_WORDS = {split: split for split in SPLITS} | dict.fromkeys(("validation", "val", "dev"), "valid")


def hash_split(key: str, *, valid_share: float = VALID_SHARE, test_share: float = TEST_SHARE) -> str:
    """The split of an item, from the hash of what identifies it: train, valid or test.

    The same key always gives the same split, whatever else is in the corpus; shares hold on average.
    """
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
    if place < test_share:
        return "test"
    return "valid" if place < test_share + valid_share else "train"


def normalised_text(text: str) -> str:
    """What two copies of a text have in common: case and white space aside."""
    return " ".join(text.casefold().split())


def split_files(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files of a folder that are named after a split, such as train.txt or ptb.valid.txt.

    Raises:
        DataError: two files claim one split, or all that there is is named valid or test.
    """
    found: dict[str, Path] = {}
    files = list_files(folder, suffixes)
    for path in files:
        words = {_SPLIT_WORDS[word] for word in re.split(r"[._\- ]", path.stem.lower()) if word in _SPLIT_WORDS}
        if len(words) != 1:
            continue
        split = words.pop()
        if split in found:
            raise DataError(f"{folder}: both {found[split].name} and {path.name} are named {split}; keep one")
        found[split] = path
    if found and "train" not in found and len(found) == len(files):
        names = " and ".join(path.name for path in found.values())
        raise DataError(f"{folder} has {names}, but no file named train; what is tested cannot be learned from")
    return found


def check_counts(corpus: Corpus, got: dict[str, int]) -> None:
    """Hold what was loaded against the table.

    Raises:
        DataError: a split has another size than the table says.
    """
    for split, wanted in corpus.counts.items():
        if got[split] != wanted:
            raise DataError(f"corpus {corpus.name!r}: got {got[split]:,} in {split}, wanted {wanted:,}")


def check_no_empty_split(name: str, sizes: dict[str, int], advice: str, notes: Iterable[str] = ()) -> None:
    """Refuse a corpus with nothing in one of its splits.

    Args:
        name: of the corpus.
        sizes: items in each split.
        advice: what to do.
        notes: what the items are like that may be the reason.

    Raises:
        DataError: a split is empty.
    """
    for split, size in sizes.items():
        if size == 0:
            total = sum(sizes.values())
            told = "; ".join([f"got {total} in all", *notes, advice])
            raise DataError(f"{name}: nothing fell into the {split} split, {told}")
