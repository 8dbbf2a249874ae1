"""JSON that is whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rnnlab.errors import CannotWriteError, CheckpointError
from rnnlab.json_files import read_json, write_json


def test_json_comes_back_as_written_and_leaves_no_temporary_file(tmp_path: Path):
    path = tmp_path / "result.json"
    write_json(path, {"status": "running", "metrics": {"valid/perplexity": float("nan")}, "title": "Ærø"})
    write_json(path, {"status": "done", "metrics": {"valid/perplexity": float("inf")}, "title": "Ærø"})
    assert read_json(path) == {"status": "done", "metrics": {"valid/perplexity": None}, "title": "Ærø"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "result.json"
    write_json(path, {"status": "running"})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWriteError, match=r"cannot write .*result.json: No space left"):
        write_json(path, {"status": "done"})
    assert read_json(path) == {"status": "running"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


DAMAGED = [("{", "not JSON"), ("[1]", "got list"), ("\xff", "not JSON"), ("", "not JSON")]
DAMAGED += [('{"a": "\\ud83e"}', "half a character"), ('{"a":' * 65 + "1" + "}" * 65, "more than 64 levels")]
DAMAGED += [('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "")]


@pytest.mark.parametrize(("content", "words"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_json_is_a_checkpoint_error(tmp_path: Path, content: str, words: str):
    path = tmp_path / "run.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=rf"run.json is damaged: .*{words}"):
        read_json(path)
