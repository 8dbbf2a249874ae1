import csv
import errno
import hashlib
import io
import logging
import tarfile
from pathlib import Path
from unittest.mock import Mock

import pytest

from rnnlab.data.corpora import download as module
from rnnlab.data.corpora.download import convert_reviews, download, watch, write_whole
from rnnlab.data.corpora.table import Archive, Corpus, CorpusFile, Kind
from rnnlab.errors import CannotWriteError, DataError


def archive_of(path, members):
    """A .tar.gz of (name, content) pairs; a TarInfo instead of a name is taken as it is."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def reviews(*, each=2):
    return [
        (f"aclImdb/{split}/{label}/{number}_{rating}.txt", f'{split} {label} {number}, "so"'.encode())
        for split in ("test", "train")
        for label, rating in (("pos", 9), ("neg", 2))
        for number in reversed(range(each))
    ]


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_reviews_become_two_files_ordered_by_label_and_number(tmp_path):
    files = convert_reviews(archive_of(tmp_path / "a.tar.gz", reviews()), reviews_each=2)
    assert list(files) == ["train.csv", "test.csv"]
    rows = list(csv.reader(io.StringIO(files["train.csv"].decode(), newline="")))
    assert rows == [
        ["text", "label", "rating", "id"],
        ['train neg 0, "so"', "0", "2", "0"],
        ['train neg 1, "so"', "0", "2", "1"],
        ['train pos 0, "so"', "1", "9", "0"],
        ['train pos 1, "so"', "1", "9", "1"],
    ]


def test_members_that_are_not_reviews_are_left_alone(tmp_path):
    odd = [
        ("../outside.txt", b"x"),
        ("/absolute.txt", b"x"),
        ("aclImdb/train/unsup/0_0.txt", b"x"),
        ("aclImdb/train/neg/../neg/7_1.txt", b"x"),
        ("aclImdb/README", b"\xff"),
        (link("aclImdb/train/neg/5_1.txt", "/etc/passwd", tarfile.SYMTYPE), b""),
        (link("aclImdb/train/neg/6_1.txt", "aclImdb/README", tarfile.LNKTYPE), b""),
        (link("aclImdb/train/neg/8_1.txt", "", tarfile.CHRTYPE), b""),
    ]
    clean = convert_reviews(archive_of(tmp_path / "a.tar.gz", reviews()), reviews_each=2)
    assert convert_reviews(archive_of(tmp_path / "b.tar.gz", [*odd, *reviews()]), reviews_each=2) == clean
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "b.tar.gz"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (reviews()[1:], "got 1 reviews in test/pos, wanted 2"),
        ([*reviews(), reviews()[0]], "review 1 is there twice in test/pos"),
        ([("aclImdb/train/neg/0_1.txt", b"x" * 200_000)], "has 200,000 bytes; it is not a review"),
        ([("aclImdb/train/neg/0_1.txt", b"\xff")], "is damaged: 'utf-8' codec"),
    ],
)
def test_an_archive_with_other_reviews_is_refused(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        convert_reviews(archive_of(tmp_path / "a.tar.gz", members), reviews_each=2)


def test_a_truncated_archive_is_refused(tmp_path):
    path = archive_of(tmp_path / "a.tar.gz", reviews(each=200))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"is damaged: .* remove it to fetch it again"):
        convert_reviews(path, reviews_each=200)


def test_an_archive_with_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_MEMBERS", 3)
    with pytest.raises(DataError, match="more than 3 members"):
        convert_reviews(archive_of(tmp_path / "a.tar.gz", reviews()), reviews_each=2)


def test_an_archive_that_unpacks_without_end_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_UNPACKED_BYTES", 100_000)
    bomb = [("aclImdb/labeledBow.feat", bytes(1 << 20)), *reviews()]
    path = archive_of(tmp_path / "a.tar.gz", bomb)
    assert path.stat().st_size < 5_000
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes"):
        convert_reviews(path, reviews_each=2)


def corpus_of(**changes):
    file = CorpusFile(name="train.csv", sha256="0" * 64, url="https://example.org/train.csv")
    values = {"name": "tiny", "kind": Kind.LABELLED, "note": "", "licence": "", "counts": {}, "files": (file,)}
    return Corpus(**{**values, **changes})


def test_an_archive_is_fetched_converted_and_removed(tmp_path, monkeypatch):
    archive = archive_of(tmp_path / "reviews.tar.gz", reviews())
    monkeypatch.setattr(module, "REVIEWS_EACH", 2)
    fetched = []

    def fetch(url, sha256, folder, name, max_bytes):
        fetched.append((url, sha256, name))
        return archive.rename(folder / name)

    monkeypatch.setattr(module, "_fetch", fetch)
    source = Archive(url="https://example.org/reviews.tar.gz", sha256="1" * 64, size=archive.stat().st_size)
    download(corpus_of(archive=source), tmp_path / "cache" / "tiny")
    assert fetched == [("https://example.org/reviews.tar.gz", "1" * 64, "reviews.tar.gz")]
    assert sorted(path.name for path in (tmp_path / "cache" / "tiny").iterdir()) == ["test.csv", "train.csv"]


def test_a_download_is_checked_before_it_gets_its_name(tmp_path, monkeypatch):
    import pooch

    def deliver(self, url, output_file, *_, **__):
        Path(output_file).write_bytes(b"<html>not the file</html>")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", deliver)
    with pytest.raises(DataError, match=r"cannot be downloaded: SHA256 hash .* put train\.csv into"):
        download(corpus_of(), tmp_path / "tiny")
    assert list((tmp_path / "tiny").iterdir()) == []


def test_a_failed_connection_is_said_in_a_few_words(tmp_path, monkeypatch):
    import pooch
    import requests

    errors = {
        "no connection": requests.ConnectionError("HTTPSConnectionPool(...)"),
        "no answer in time": requests.ReadTimeout("HTTPSConnectionPool(...)"),
    }
    for reason, error in errors.items():
        monkeypatch.setattr(pooch.HTTPDownloader, "__call__", Mock(side_effect=error))
        with pytest.raises(DataError, match=f"cannot be downloaded: {reason}; put"):
            download(corpus_of(), tmp_path)
    response = requests.Response()
    response.status_code, response.url = 404, "https://example.org/train.csv"
    error = requests.HTTPError("404", response=response)
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", Mock(side_effect=error))
    with pytest.raises(DataError, match=r"https://example\.org/train\.csv answers with status 404"):
        download(corpus_of(), tmp_path)


def test_a_good_download_is_kept(tmp_path, monkeypatch, caplog):
    import pooch

    def deliver(self, url, output_file, *_, **__):
        Path(output_file).write_bytes(b"good")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", deliver)
    caplog.set_level(logging.INFO)
    file = CorpusFile(name="a.txt", sha256=hashlib.sha256(b"good").hexdigest(), url="https://example.org/a.txt")
    download(corpus_of(files=(file,)), tmp_path / "tiny")
    assert (tmp_path / "tiny" / "a.txt").read_bytes() == b"good"
    assert "downloading https://example.org/a.txt" in caplog.text


def answer(status, content=b"", **headers):
    """What a server answers, as requests has it before anything of it is read."""
    import requests

    response = requests.Response()
    response.status_code, response.url, response.raw = status, "https://example.org/a.txt", io.BytesIO(content)
    response.headers.update(headers)
    return response


@pytest.mark.parametrize("target", ["http://example.org/a.txt", "ftp://example.org/a", "file:///etc/passwd"])
def test_a_server_cannot_lead_away_from_https(target):
    with pytest.raises(DataError, match=f"by https only, got {target}"):
        watch(10)(answer(302, location=target))
    for fine in ("https://mirror.example.org/a.txt", "/b.txt"):
        watch(10)(answer(302, location=fine))


def test_a_server_cannot_send_more_than_the_file_has(tmp_path, monkeypatch):
    import requests

    monkeypatch.setattr(module, "_MAX_FILE_BYTES", 1000)

    def get(url, *_, hooks, **__):
        response = answer(200, bytes(2000))
        hooks["response"](response)
        return response

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(DataError, match="sends more than the 1,000 bytes it should have"):
        download(corpus_of(), tmp_path / "tiny")
    assert list((tmp_path / "tiny").iterdir()) == []


def test_only_https_is_fetched(tmp_path):
    file = CorpusFile(name="a.txt", sha256="0" * 64, url="http://example.org/a.txt")
    with pytest.raises(DataError, match="by https only, got http://example"):
        download(corpus_of(files=(file,)), tmp_path)


def test_a_full_disk_is_not_a_data_problem(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_fetch", fail)
    with pytest.raises(CannotWriteError, match=r"cannot write .*: No space left"):
        download(corpus_of(), tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    with pytest.raises(TypeError):
        write_whole(tmp_path / "a", "not bytes")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
