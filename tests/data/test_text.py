import gzip
import logging
import lzma
import os

import pytest

from rnnlab.data.text import decode_text, list_files, read_text
from rnnlab.errors import DataError


def written(tmp_path, content):
    path = tmp_path / "corpus.txt"
    path.write_bytes(content)
    return path


def test_utf8_is_read_as_it_is(tmp_path, caplog):
    assert read_text(written(tmp_path, "größer\nσ\n".encode())) == "größer\nσ\n"
    assert not caplog.records


def test_a_byte_order_mark_is_removed_and_reported(tmp_path, caplog):
    assert read_text(written(tmp_path, b"\xef\xbb\xbfone\n")) == "one\n"
    assert "removed the byte order mark" in caplog.text


def test_crlf_and_cr_become_newlines_and_are_reported(tmp_path, caplog):
    assert read_text(written(tmp_path, b"one\r\ntwo\rthree")) == "one\ntwo\nthree"
    assert "CRLF or CR" in caplog.text


def test_known_content_is_normalised_without_a_report(caplog):
    caplog.set_level(logging.DEBUG)
    assert decode_text(b"\xef\xbb\xbfone\r\n", "x", report=False) == "one\n"
    assert not caplog.records


def test_only_newlines_end_lines(tmp_path):
    text = "a\u2028b\x0bc\x1cd\x85e\n"
    assert read_text(written(tmp_path, text.encode())) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "corpus.txt is empty"),
        (b" \n\t\r\n", "is white space only"),
        (b"\xef\xbb\xbf", "is white space only"),
        (b"one\ntw\0o", "line 2, byte 3 of the line, offset 6 in the file: a NUL byte"),
        (b"one\ntwo\ncaf\xe9\n", "line 3, byte 4 of the line, offset 11 in the file: byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfab\xff", "line 1, byte 6 of the line, offset 5 in the file: byte 0xff"),
        ("one".encode("utf-16"), "is UTF-16 or UTF-32, wanted UTF-8; convert it"),
        ("one".encode("utf-16-be"), "a NUL byte, wanted text"),
        (gzip.compress(b"one", mtime=0), r"corpus\.txt is a gzip archive, wanted text; unpack it first: gunzip"),
        (lzma.compress(b"one"), "is an xz archive"),
        (b"PK\x03\x04rest", "is a zip archive, or a document that is one"),
        (b"%PDF-1.7\n", "is a PDF document"),
    ],
)
def test_what_is_not_text_is_refused_with_the_place(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_text(written(tmp_path, content))


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(DataError, match="is a folder, wanted a file"):
        read_text(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*nowhere\.txt: No such file"):
        read_text(tmp_path / "nowhere.txt")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read_text(tmp_path / "pipe")


def test_files_are_listed_by_suffix_and_in_order(tmp_path):
    for name in ("b.TXT", "a.txt", "c.md", "d"):
        (tmp_path / name).touch()
    for folder in ("inner", ".hidden"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "e.txt").touch()
    (tmp_path / "._a.txt").touch()
    assert [path.name for path in list_files(tmp_path, [".txt"])] == ["a.txt", "b.TXT"]
    assert [path.name for path in list_files(tmp_path, [".txt"], recursive=True)] == ["a.txt", "b.TXT", "e.txt"]
