import pytest

from rnnlab.data.abc import split_tunes
from rnnlab.errors import CannotWriteError
from rnnlab.generation.abc import format_tunes, write_tunes

TUNES = ["X:1\nT:One\nK:G\nGAB|\n", "T:Two\nK:D\n\ndef|"]


def test_tunes_are_numbered_and_end_in_a_blank_line():
    assert format_tunes(TUNES) == "X:1\nT:One\nK:G\nGAB|\n\nX:2\nT:Two\nK:D\ndef|\n\n"


def test_a_file_read_back_gives_its_tunes(tmp_path):
    path = write_tunes(TUNES, tmp_path / "samples" / "tunes.abc")
    assert len(split_tunes(path.read_text(encoding="utf-8"))) == 2
    assert b"\r" not in path.read_bytes()


def test_a_path_that_cannot_be_written_is_a_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match=r"cannot write .*tunes\.abc"):
        write_tunes(TUNES, tmp_path / "file" / "tunes.abc")
