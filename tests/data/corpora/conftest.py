import pytest

from rnnlab.data.corpora import locate


@pytest.fixture
def no_corpora(monkeypatch, tmp_path):
    """No $RNNLAB_DATA, an empty cache and no downloads; gives the cache folder."""
    monkeypatch.delenv(locate.DATA_VARIABLE, raising=False)
    cache = tmp_path / "cache"
    monkeypatch.setattr(locate, "cache_folder", lambda: cache)

    def refuse(url, *_):
        raise OSError("no route to host")

    monkeypatch.setattr("rnnlab.data.corpora.download._fetch", refuse)
    return cache
