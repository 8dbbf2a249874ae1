"""Downloads into the cache, checked by size and SHA-256 before anything opens them."""

from __future__ import annotations

import csv
import errno
import io
import logging
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from rnnlab.data.corpora.table import Corpus
from rnnlab.data.files import write_whole
from rnnlab.errors import CannotWriteError, DataError

if TYPE_CHECKING:
    from requests import Response

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}

# What the archive of reviews is known to hold; anything else in it is left alone.
_MEMBER = re.compile(r"aclImdb/(train|test)/(neg|pos)/(\d{1,5})_(\d{1,2})\.txt")
_MAX_MEMBERS = 150_000
_MAX_REVIEW_BYTES = 1 << 17
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_FILE_BYTES = 1 << 26  # of a download without a size in the table
REVIEWS_EACH = 12_500


def download(corpus: Corpus, folder: Path) -> None:
    """Fetch a corpus's files into a folder; what is there already and complete is not fetched again.

    Raises:
        DataError: no connection, or the content has another hash than the table.
        CannotWriteError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if corpus.archive is None:
            for file in corpus.files:
                _fetch(file.url, file.sha256, folder, file.name, _MAX_FILE_BYTES)
            return
        source = corpus.archive
        archive = _fetch(source.url, source.sha256, folder, Path(source.url).name, source.size)
        if archive.stat().st_size != corpus.archive.size:
            raise DataError(f"{archive}: got {archive.stat().st_size} bytes, wanted {corpus.archive.size}; remove it")
        log.info("converting %s", archive)
        for name, content in convert_reviews(archive, REVIEWS_EACH).items():
            write_whole(folder / name, content)
        archive.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
            raise CannotWriteError(f"cannot write {folder}: {error.strerror}") from None
        wanted = ", ".join(file.name for file in corpus.files)
        raise DataError(
            f"corpus {corpus.name!r} is not on this machine and cannot be downloaded: {_why_no_download(error)}; "
            f"put {wanted} into $RNNLAB_DATA/{corpus.name} or {folder}"
        ) from None


def convert_reviews(archive: Path, reviews_each: int) -> dict[str, bytes]:
    """Turn the reviews of aclImdb_v1.tar.gz into train.csv and test.csv: text, label (0, 1), rating, id.

    Members are read by name, up to 128 KiB each; nothing is extracted, and links are not followed. Rows are ordered by
    label and id.

    Raises:
        DataError: the archive is damaged, or does not hold `reviews_each` reviews of each split and label.
    """
    reviews: dict[tuple[str, int], dict[int, tuple[str, str]]] = {
        (split, label): {} for split in ("train", "test") for label in (0, 1)
    }
    try:
        with tarfile.open(archive, "r:gz") as members:
            for count, member in enumerate(members):
                if count > _MAX_MEMBERS:
                    raise DataError(f"{archive} has more than {_MAX_MEMBERS:,} members; it is not the known archive")
                if member.offset_data + member.size > _MAX_UNPACKED_BYTES:
                    raise DataError(f"{archive} unpacks to more than {_MAX_UNPACKED_BYTES:,} bytes; it is not the one")
                match = _MEMBER.fullmatch(member.name)
                if match is None or not member.isreg():
                    continue
                if member.size > _MAX_REVIEW_BYTES:
                    raise DataError(f"{archive}: {member.name} has {member.size:,} bytes; it is not a review")
                content = members.extractfile(member)
                assert content is not None  # a regular member always has content
                split, polarity, number, rating = match.groups()
                group = reviews[split, int(polarity == "pos")]
                if int(number) in group:
                    raise DataError(f"{archive}: review {number} is there twice in {split}/{polarity}")
                group[int(number)] = content.read().decode("utf-8"), rating
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{archive} is damaged: {_one_line(error)}; remove it to fetch it again") from None
    for (split, label), group in reviews.items():
        if len(group) != reviews_each:
            kind = ("neg", "pos")[label]
            raise DataError(f"{archive}: got {len(group):,} reviews in {split}/{kind}, wanted {reviews_each:,}")
    return {f"{split}.csv": _to_csv({label: reviews[split, label] for label in (0, 1)}) for split in ("train", "test")}


def _to_csv(groups: Mapping[int, Mapping[int, tuple[str, str]]]) -> bytes:
    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(["text", "label", "rating", "id"])
    for label, group in groups.items():
        for number in sorted(group):
            text, rating = group[number]
            writer.writerow([text, label, rating, number])
    return rows.getvalue().encode()


def watch(max_bytes: int) -> Callable[..., None]:
    """Make a hook for requests that refuses to be led away from https, and more bytes than a file has."""

    def look_at(response: Response, **_: Any) -> None:
        if response.is_redirect:
            _check_address(urljoin(response.url, response.headers["location"]))
        chunks = response.iter_content

        def counted(*arguments: Any, **options: Any) -> Iterator[Any]:
            count = 0
            for chunk in chunks(*arguments, **options):
                count += len(chunk)
                if count > max_bytes:
                    raise ValueError(f"{response.url} sends more than the {max_bytes:,} bytes it should have")
                yield chunk

        response.iter_content = counted

    return look_at


def _check_address(url: str) -> None:
    if not url.startswith("https://"):
        raise DataError(f"downloads are by https only, got {url}")


def _fetch(url: str, sha256: str, folder: Path, name: str, max_bytes: int) -> Path:
    """One file by https, under a temporary name until its hash is checked."""
    import pooch

    _check_address(url)
    # pooch would announce the download a second time.
    pooch.get_logger().setLevel(logging.WARNING)
    log.info("downloading %s to %s", url, folder / name)
    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), timeout=TIMEOUT_SECONDS, hooks={"response": watch(max_bytes)}
    )
    # pooch types this parameter more narrowly than its own downloaders are.
    path = pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=folder, downloader=downloader)  # pyright: ignore[reportArgumentType]
    return Path(path)


def _why_no_download(error: Exception) -> str:
    """The reason in a few words; requests (which pooch uses) puts its whole call chain into the message."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.url} answers with status {response.status_code}"
    if type(error).__module__.startswith("requests."):
        return "no answer in time" if "Timeout" in type(error).__name__ else "no connection"
    return _one_line(error)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
