import re

from rnnlab.data.corpora.table import CORPORA, Kind


def test_every_kind_has_a_corpus_that_comes_in_a_package():
    assert {row.kind for row in CORPORA.values() if row.package} == set(Kind)


def test_names_are_those_the_user_writes():
    assert list(CORPORA) == ["sotu", "ptb", "wikitext-2", "movie-reviews", "imdb", "trad-tunes"]


def test_every_content_has_a_hash_and_every_address_is_https():
    for row in CORPORA.values():
        sources = [*row.files, *filter(None, (row.archive, row.package))]
        assert sources
        assert all(re.fullmatch("[0-9a-f]{64}", source.sha256) for source in sources)
        urls = [source.url for source in (*row.files, *filter(None, (row.archive,)))]
        assert all(url.startswith("https://") for url in urls if url)
        assert row.archive or row.package or all(urls)


def test_packages_are_pinned_and_every_row_has_licence_and_counts():
    for row in CORPORA.values():
        assert row.package is None or re.fullmatch(r"[a-z0-9-]+==[0-9.]+", row.package.requirement)
        assert row.licence
        assert set(row.counts) == {"train", "valid", "test"}
        assert min(row.counts.values()) > 0
