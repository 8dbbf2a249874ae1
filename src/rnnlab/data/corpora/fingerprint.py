"""What a corpus contains, known from the bytes of its files: a fraction of the time that reading them takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from rnnlab.data.corpora import table_files, texts, tunes
from rnnlab.data.corpora.labelled import own_tables
from rnnlab.data.corpora.locate import load_files, resolve
from rnnlab.data.corpora.table import Corpus, Kind
from rnnlab.data.text import list_files, read_bytes

_OWN_FILES: Mapping[Kind, Callable[[Path], dict[str, list[Path]]]] = {
    Kind.TEXT: texts.own_texts,
    Kind.LABELLED: own_tables,
    Kind.TUNES: tunes.own_tunes,
}
_SUFFIXES = {Kind.TEXT: texts.SUFFIXES, Kind.LABELLED: table_files.SUFFIXES, Kind.TUNES: tunes.SUFFIXES}


def fingerprint(corpus: str, kind: Kind) -> list[str]:
    """Hash every file that loading a corpus would read.

    Size and time of a file are not asked: they stay when a file is put in another's place, and hashing is quick (imdb,
    66 MB: 0.1 s).

    Args:
        corpus: a known name, or the path of one's own file or folder.
        kind: what it is made of.

    Returns:
        `split path sha256` of each file of one's own, paths as messages name them; of a known corpus its name and the
        hashes of the table, after its files were held against them.

    Raises:
        DataError, CannotWriteError: as the loaders, for what is wrong with the files themselves.
    """
    found = resolve(corpus, kind)
    if isinstance(found, Corpus):
        load_files(found)
        package = [] if found.package is None else [found.package.sha256]
        return [found.name, *package, *(file.sha256 for file in found.files)]
    return [
        f"{split} {path} {hashlib.sha256(read_bytes(path)).hexdigest()}"
        for split, paths in _OWN_FILES[kind](found).items()
        for path in paths
    ]


def unread_files(corpus: str, kind: Kind) -> list[str]:
    """Name the files of one's own folder that are not read: beside train.txt those that are named after no split.

    Raises:
        DataError: as the loaders, for what is wrong with the folder.
    """
    found = resolve(corpus, kind)
    if isinstance(found, Corpus) or not found.is_dir():
        return []
    read = {path for paths in _OWN_FILES[kind](found).values() for path in paths}
    return [path.name for path in list_files(found, _SUFFIXES[kind]) if path not in read]
