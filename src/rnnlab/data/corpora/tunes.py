"""Tunes in ABC notation, cleaned, in a train, a valid and a test split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rnnlab.data.abc import clean_tune, header_field, normalised_title, split_tunes, tune_body, voice_count
from rnnlab.data.corpora.locate import load_files, resolve
from rnnlab.data.corpora.splits import (
    SPLITS,
    TEST_SHARE,
    VALID_SHARE,
    check_counts,
    check_no_empty_split,
    hash_split,
    split_files,
)
from rnnlab.data.corpora.table import Corpus, Kind
from rnnlab.data.progress import bar
from rnnlab.data.text import decode_text, list_files, read_text
from rnnlab.errors import DataError

SUFFIXES = (".abc",)
# A tonic with an optional mode; or no key, the pipes, a clef alone. More may follow after a blank (K:D clef=bass).
_KEY = re.compile(
    r"(?:[A-G][#b♯♭]?\s*(?i:(?:maj|min|mix|dor|phr|lyd|loc|aeo|ion|exp)[a-z]*|m)?(?![A-Za-z])|none|H[Pp]|clef=|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneCorpus:
    """Tunes in three splits, each as `rnnlab.data.abc.clean_tune` gives it.

    Attributes:
        name: the corpus's name, or the path it was read from.
        train: tunes to learn from.
        valid: tunes to choose by.
        test: tunes to report on.
        skipped: how many tunes were left out, by reason.
    """

    name: str
    train: list[str]
    valid: list[str]
    test: list[str]
    skipped: dict[str, int] = field(default_factory=dict)


def load_tunes(corpus: str) -> TuneCorpus:
    """Read tunes, clean them and split them.

    Left out, and counted by reason: tunes without a key (`K:`) or with one that cannot be read, without a note, with
    several voices, and copies of another tune: the same key, metre and music, white space aside.

    Splits: a folder with .abc files named train, valid and test uses them. What is missing is split off by a hash of
    the normalised title, a tenth each, so that settings of one tune stay together; a tune without a title goes by its
    music. A tune that stands in test or valid as well is counted as a copy and kept there, not in train.

    Args:
        corpus: a known name, or the path of an .abc file or of a folder of them.

    Raises:
        DataError: there is no such corpus or file, it is of another kind, it cannot be read, it is not what the table
            says, it has no tune that can be used, or a split is empty.
    """
    found = resolve(corpus, Kind.TUNES)
    if isinstance(found, Corpus):
        texts = (decode_text(file.content, str(file.path), report=False) for file in load_files(found))
        result = _assemble(corpus, {"train": _tunes_of(texts)})
        check_counts(found, {split: len(getattr(result, split)) for split in SPLITS})
        return result
    files = own_tunes(found)
    return _assemble(corpus, {split: _tunes_of(map(read_text, paths)) for split, paths in files.items()})


def own_tunes(path: Path) -> dict[str, list[Path]]:
    """The files of one's own that hold each split; a split that is not named is taken from train.

    Raises:
        DataError: the folder cannot be read, has no .abc file, or has two for one split.
    """
    if not path.is_dir():
        return {"train": [path]}
    files = split_files(path, SUFFIXES)
    if "train" in files:
        return {split: [file] for split, file in files.items()}
    found = list_files(path, SUFFIXES, recursive=True)
    if not found:
        raise DataError(f"{path} has no .abc file")
    return {"train": found}


def _tunes_of(texts: Iterable[str]) -> list[str]:
    return [tune for text in texts for tune in split_tunes(text)]


def _assemble(name: str, given: dict[str, list[str]]) -> TuneCorpus:
    """Clean and check every tune, drop copies, and split off what is missing."""
    if not any(given.values()):
        raise DataError(f"{name} has no tune: no line starts with X:, as in X:1")
    shares = {"valid": VALID_SHARE, "test": TEST_SHARE}
    shares = {split: 0.0 if split in given else share for split, share in shares.items()}
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    skipped: Counter[str] = Counter()
    seen: set[tuple[str | None, str | None, str]] = set()
    titles: set[str] = set()
    # What is tested first: of two copies, that one is kept.
    for origin in ("test", "valid", "train"):
        for raw in bar(given.get(origin, []), f"reading {name}", "tune"):
            tune = clean_tune(raw)
            music = tune_body(tune)
            # What copies share even under another title.
            identity = (header_field(tune, "K"), header_field(tune, "M"), "".join(music.split()))
            reason = _why_unusable(tune, music) or ("a copy of another tune" if identity in seen else None)
            if reason:
                skipped[reason] += 1
                continue
            seen.add(identity)
            split = origin
            if origin == "train":
                key = normalised_title(tune) or music
                titles.add(key)
                split = hash_split(key, valid_share=shares["valid"], test_share=shares["test"])
            parts[split].append(tune)
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in skipped.items())
    if not seen:
        raise DataError(f"{name} has no tune that can be used; left out: {reasons}")
    advice = "give more tunes, or a folder with files named train.abc, valid.abc and test.abc"
    notes = [f"left out: {reasons}"] if reasons else []
    notes += ["all have one title, and settings of one tune stay together"] if len(titles) == 1 < len(seen) else []
    check_no_empty_split(name, {split: len(parts[split]) for split in SPLITS}, advice, notes)
    return TuneCorpus(name=name, skipped=dict(skipped), **parts)


def _why_unusable(tune: str, music: str) -> str | None:
    key = header_field(tune, "K")
    if key is None:
        return "no key (K:)"
    if not _KEY.match(key):
        return "unreadable key (K:)"
    if voice_count(tune) > 1:
        return "several voices"
    if not re.search("[A-Ga-g]", music):
        return "no note"
    return None
