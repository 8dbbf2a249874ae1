"""`rnnlab bench start`, with starts that nobody makes."""

import pytest

from rnnlab.benchmarks import start
from rnnlab.cli import main
from rnnlab.json_files import read_json


@pytest.fixture
def asked(monkeypatch):
    """What is started, in order; the first start of a corpus takes 9 s, the others 2, 3 and 4 s."""
    asked = []

    def time_start(settings, environment):
        seconds = [9.0, 3.0, 2.0, 4.0][len(asked) % 4]
        asked.append((settings, environment))
        return start.Start(seconds, 2 * seconds, {"torch": 1.0, "corpus": seconds - 1.5, "model": 0.01})

    monkeypatch.setattr(start, "time_start", time_start)
    return asked


def test_each_corpus_is_started_first_with_an_empty_cache_then_with_what_that_left(asked, capsys, tmp_path):
    assert main(["bench", "start", "--corpora", "ptb,imdb", "--json", str(tmp_path / "start.json")]) == 0
    settings = [["task=next_word", "task.corpus=ptb"], ["task=sentiment", "task.corpus=imdb"]]
    assert [one for one, _ in asked] == [settings[0]] * 4 + [settings[1]] * 4
    caches = [environment["RNNLAB_CACHE"] for _, environment in asked]
    assert len(set(caches[:4])) == len(set(caches[4:])) == 1
    assert caches[0] != caches[4]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == "sentiment imdb 9.0 3.0 6.0 torch 1.0, corpus 1.5".split()
    found = read_json(tmp_path / "start.json")
    assert (found["format"], found["benchmark"], found["settings"]) == (1, "start", {"repeats": 3})
    assert [case["corpus"] for case in found["cases"]] == ["ptb", "imdb"]
    assert found["cases"][0]["first"]["seconds"] == 9.0
    assert [one["seconds"] for one in found["cases"][0]["later"]] == [3.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--corpora", "ptbb"], 2, "--corpora: expected some of sotu,"),
        (["--corpora", "ptbb"], 2, "got 'ptbb'; did you mean ptb?"),
        (["--repeats", "0"], 2, "--repeats must be at least 1, got 0"),
        (["--json", "no/such/x.json"], 7, "cannot write no/such/x.json: there is no folder no/such"),
    ],
)
def test_mistakes_are_told_in_one_line(options, code, message, asked, capsys):
    assert main(["bench", "start", *options]) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not asked
