"""Tasks and the cache of encoded corpora: what a task's splits depend on, and how they are had without reading."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnlab import data
from rnnlab.config import CorpusConfig
from rnnlab.data.cache import cached, encoded_folder, key_of, look_up, warn_again
from rnnlab.data.corpora import Kind, fingerprint, unread_files
from rnnlab.data.encoded import Encoded
from rnnlab.errors import DataError

if TYPE_CHECKING:
    from rnnlab.tasks.base import Task

log = logging.getLogger(__name__)

FORMAT = 1


def read_encoded(task: Task, config: CorpusConfig, kind: Kind, encode: Callable[[], Encoded]) -> Encoded:
    """Read a task's corpus, from the cache if it was encoded before with the same outcome.

    The outcome depends on the content of the corpus's files, on the settings, on the code that reads and encodes, and
    on a vocabulary that was restored. A run that goes on has the one that its corpus gave: it shares the entry of its
    start.

    Args:
        task: without a vocabulary, or restored; takes vocabulary and whatever else `restore` sets.
        config: the task's settings.
        kind: what the corpus is made of.
        encode: reads the corpus, gives the task a vocabulary if it has none, and encodes the splits. It need not put
            the outcome of `Task.dump` into the facts; that is done here.

    Raises:
        DataError: as the loaders; names the corpus.
    """
    try:
        return _read_encoded(task, config, kind, encode)
    except DataError as error:
        if config.corpus in str(error):
            raise
        raise DataError(f"{config.corpus}: {error}") from None


def _read_encoded(task: Task, config: CorpusConfig, kind: Kind, encode: Callable[[], Encoded]) -> Encoded:
    """As `read_encoded`; what is wrong may be told without the corpus's name."""
    if unread := unread_files(config.corpus, kind):
        names = ", ".join(unread[:3]) + (", ..." if len(unread) > 3 else "")
        log.warning("%s: not read, named neither train, valid nor test: %s", config.corpus, names)
    if encoded_folder() is None:
        return encode()
    sources = fingerprint(config.corpus, kind)
    try:
        parts: dict[str, Any] = {"format": FORMAT, "files": sources, "code": _code_hash(task)}
    except OSError:  # installed without its source
        return encode()
    parts["settings"] = asdict(config)  # pyright: ignore[reportArgumentType]

    def encode_and_note() -> Encoded:
        encoded = encode()
        encoded.facts["task"] = task.dump()
        return encoded

    def is_unchanged() -> bool:
        # A file that is changed while it is read would be kept under the hash it had before.
        try:
            return fingerprint(config.corpus, kind) == sources
        except DataError:
            return False

    restored = task.dump() if task.has_vocabulary else None
    fresh = key_of(config.corpus, parts)
    if restored is not None:
        found = look_up(fresh)
        if found is not None and found.facts["task"] == restored:
            return warn_again(found)
        parts["restored"] = hashlib.sha256(json.dumps(restored).encode()).hexdigest()
    encoded = cached(
        fresh if restored is None else key_of(config.corpus, parts),
        encode_and_note,
        still_true=is_unchanged,
    )
    if not task.has_vocabulary or task.dump() != encoded.facts["task"]:
        task.restore(encoded.facts["task"])
    return encoded


def _code_hash(task: Task) -> str:
    """Hash the source of all that reads and encodes: no other version of it may find what this one has kept."""
    files = set(Path(data.__file__).parent.rglob("*.py"))
    for kind in type(task).__mro__:
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source is not None and kind is not object:
            files.add(Path(source))
    digest = hashlib.sha256(f"{sys.version_info[:2]} {unicodedata.unidata_version}".encode())
    digest.update(f"{type(task).__module__}.{type(task).__qualname__}".encode())
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
