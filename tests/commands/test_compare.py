"""`rnnlab compare` and `rnnlab diff`."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from rnnlab.commands import compare, diff
from rnnlab.errors import CheckpointError, ConfigError
from rnnlab.evaluation.bootstrap import Interval
from rnnlab.json_files import read_json, write_json
from rnnlab.tasks.items import ItemScores


@pytest.fixture
def pair(finished, train):
    """Two finished runs that differ in their model: sentiment, other."""
    train("sentiment", "model=gru", "seed=3", "trainer.checkpoint_every_steps=2", name="other")
    return finished


def compared(capsys, *argv):
    assert compare.main([*argv, "--json", "--threads", "1"]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_are_held_against_the_first_on_the_same_items(pair, capsys):
    result = compared(capsys, "sentiment", "run=other", "--resamples", "500")
    first, second = result["runs"]
    recorded = [read_json(pair / name / "result.json")["metrics"]["test/accuracy"] for name in ("sentiment", "other")]
    assert [first["value"], second["value"]] == pytest.approx(recorded)
    assert second["difference"]["value"] == pytest.approx(recorded[1] - recorded[0])
    assert first["low"] <= first["value"] <= first["high"]
    assert (result["metric"], result["unit"], result["resamples"]) == ("test/accuracy", "texts", 500)
    assert result["items"] == read_json(pair / "sentiment" / "run.json")["corpus"]["test_texts"]
    assert result["settings"] == {"model.cell": ["lstm", "gru"], "seed": ["0", "3"]}
    assert compared(capsys, "sentiment", "other", "--resamples", "500") == result  # seeded


def test_a_copy_of_a_run_is_not_distinguishable_from_it(finished, capsys):
    shutil.copytree(finished / "next_word", finished / "copy")
    assert compare.main(["next_word", "copy", "--resamples", "200", "--threads", "1"]) == 0
    told = capsys.readouterr().out
    assert "test/perplexity, lower is better" in told
    assert [line.split()[-2:] for line in told.splitlines() if line.startswith("copy")][1] == ["not", "distinguishable"]
    assert "stretches of 16 tokens, drawn anew 200 times, seed 0" in told
    assert "take them as a hint" in told
    assert max(map(len, told.splitlines())) <= 100


def test_by_length_scores_each_quarter_of_the_texts(pair, capsys):
    result = compared(capsys, "sentiment", "other", "--by-length", "--resamples", "200")
    parts = result["by_length"]
    assert sum(part["items"] for part in parts) == result["items"]
    assert all(one["longest"] < other["shortest"] for one, other in pairwise(parts))
    for number in (0, 1):
        right = sum(part["runs"][number]["value"] * part["items"] for part in parts)
        assert right == pytest.approx(result["runs"][number]["value"] * result["items"])
    assert all(part["runs"][1]["verdict"] for part in parts)
    assert compare.main(["sentiment", "other", "--by-length", "--resamples", "200", "--threads", "1"]) == 0
    told = capsys.readouterr().out
    assert f"{parts[0]['items']} texts of {parts[0]['shortest']} to {parts[0]['longest']} tokens" in told
    assert max(map(len, told.splitlines())) <= 120


def test_a_quarter_of_one_item_goes_with_the_one_beside_it():
    steps = np.array([60, 70, 80, 87, 88, 88, 95, 102, 102])
    items = ItemScores("tunes", nats=steps * 2.0, counts=steps, steps=steps, right=None, targets=None)
    runs = [compare.Contestant(name, "bits_per_char", "", items) for name in ("a", "b")]
    parts = compare._by_length(runs, "test/bits_per_char", 100, 0)
    assert [(part["items"], part["shortest"], part["longest"]) for part in parts] == [
        (3, 60, 80),
        (4, 87, 95),  # 95 alone would be a quarter
        (2, 102, 102),
    ]


def test_a_long_text_has_no_lengths_to_compare_by(finished):
    shutil.copytree(finished / "next_word", finished / "copy")
    with pytest.raises(CheckpointError, match="--by-length is for texts and tunes, next_word reads one long text"):
        compare.main(["next_word", "copy", "--by-length", "--resamples", "200", "--threads", "1"])


@pytest.mark.parametrize(
    ("interval", "tag", "word"),
    [
        (Interval(0.1, -0.1, 0.3), "test/accuracy", "not distinguishable"),
        (Interval(0.1, 0.0, 0.3), "test/accuracy", "not distinguishable"),
        (Interval(0.2, 0.1, 0.3), "test/accuracy", "better"),
        (Interval(0.2, 0.1, 0.3), "test/perplexity", "worse"),
        (Interval(-0.2, -0.3, -0.1), "valid/bits_per_char", "better"),
    ],
)
def test_a_difference_in_words(interval, tag, word):
    assert compare.verdict(interval, tag) == word


def test_runs_of_other_tasks_corpora_and_vocabularies_are_refused(finished, train, corpora):
    with pytest.raises(CheckpointError, match="cannot be compared: task music and task next_word"):
        compare.main(["music", "next_word"])
    train("next_word", "task.max_vocab=8", name="fewer-words")
    with pytest.raises(CheckpointError, match="their vocabularies differ"):
        compare.main(["next_word", "fewer-words", "--threads", "1"])
    content = read_json(finished / "fewer-words" / "run.json")
    content["config"]["task"]["corpus"] = "another.txt"
    write_json(finished / "fewer-words" / "run.json", content)
    with pytest.raises(CheckpointError, match="corpus .*words.txt and corpus another.txt"):
        compare.main(["next_word", "fewer-words"])


def test_the_same_text_in_another_file_is_the_same_corpus(finished, train, corpora, tmp_path, capsys):
    moved = tmp_path / "moved.txt"
    moved.write_bytes(b"\xef\xbb\xbf" + corpora["next_word"].read_bytes())
    train("next_word", f"task.corpus={moved}", "seed=1", name="moved")
    capsys.readouterr()
    result = compared(capsys, "next_word", "moved", "--resamples", "100")
    assert result["settings"]["task.corpus"] == [str(corpora["next_word"]), str(moved)]


def test_one_run_is_not_enough_and_numbers_have_ranges(finished):
    with pytest.raises(ConfigError, match=r"compare needs 2 different runs, got 1: rnnlab compare music OTHER \("):
        compare.main(["music", "run=music"])
    with pytest.raises(ConfigError, match="diff needs 2 different runs, got 1: rnnlab diff music OTHER"):
        diff.main(["music"])
    with pytest.raises(ConfigError, match="--resamples must be at least 100, got 5"):
        compare.main(["music", "next_word", "--resamples", "5"])
    with pytest.raises(CheckpointError, match="no run 'musik'; did you mean music?"):
        compare.main(["musik", "music"])


def test_diff_shows_settings_corpus_and_versions(finished, capsys):
    content = read_json(finished / "music" / "run.json")
    content["versions"]["torch"] = "1.0"
    content["config"]["optimizer"]["lr"] = 0.5
    (finished / "sweep-9" / "x").mkdir(parents=True)
    write_json(finished / "sweep-9" / "x" / "run.json", content)
    assert diff.main(["music", "sweep-9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"] == ["music", "sweep-9/x"]
    assert found["settings"]["optimizer.lr"] == ["0.002", "0.5"]
    assert found["settings"]["made with torch"][1] == "1.0"
    assert diff.main(["music", "next_word"]) == 0
    told = capsys.readouterr().out
    assert any(line.split() == ["task.name", "music", "next_word"] for line in told.splitlines())
    assert "corpus hash" in told


def test_diff_says_when_nothing_differs(finished, capsys):
    (finished / "twin").mkdir()
    write_json(finished / "twin" / "run.json", read_json(finished / "music" / "run.json"))
    assert diff.main(["music", "twin"]) == 0
    assert capsys.readouterr().out == "music and twin have the same settings, versions and corpus\n"
