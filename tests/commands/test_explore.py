"""`rnnlab explore`: one page that needs nothing else, the numbers beside it, and units held as asked."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rnnlab.cli import main
from rnnlab.commands._finished import open_run
from rnnlab.config import GenerateConfig

SMALL = ["threads=1", "count=3", "length=12", "hold=1"]


def page_data(path: Path) -> dict:
    """What the script of a page reads."""
    (line,) = re.findall(r"^const DATA = (.*);$", path.read_text(), re.MULTILINE)
    return json.loads(line)


def matrix(data: dict, layer: int, name: str) -> np.ndarray:
    """Values (N, H) of a quantity, as exact as a byte."""
    (one,) = (q for q in data["quantities"] if (q["layer"], q["name"]) == (layer, name))
    levels = np.frombuffer(base64.b64decode(one["data"]), np.uint8).reshape(len(one["high"]), -1) / 255
    low, high = np.array(one["low"])[:, None], np.array(one["high"])[:, None]
    return (low + (high - low) * levels).T


def values(data: dict, name: str) -> np.ndarray:
    (one,) = (v for v in data["values"] if v["name"] == name)
    return one["high"] * np.frombuffer(base64.b64decode(one["data"]), np.uint8) / 255


@pytest.mark.parametrize("task", ["music", "next_word", "sentiment"])
def test_every_task_gets_a_page_of_its_own(task, finished, capsys):
    assert main(["explore", f"run={task}", *SMALL]) == 0
    said = capsys.readouterr().out
    path = finished / task / "explore.html"
    assert f"page: {path}" in said
    assert path.resolve().as_uri() in said
    text = path.read_text()
    assert not re.findall(r"\b(?:src|href)=|https?://|@import|fetch\(", text), "the page must ask for nothing"
    data = page_data(path)
    count = len(data["shown"])
    for quantity in data["quantities"]:
        assert matrix(data, quantity["layer"], quantity["name"]).shape == (count, 6)
    assert all(len(base64.b64decode(flags)) == count for flags in data["flags"].values())
    assert data["starts"][0] == 0
    report = json.loads((finished / task / "explore.json").read_text())
    assert report["properties"] == data["properties"]
    assert report["tokens"] >= count
    for one in report["properties"]:
        assert (one["best"] is None) == (one["unsearched"] is not None)
        assert one["sentence"] in said


@torch.no_grad()
def test_the_colours_of_a_text_are_the_models_numbers(finished):
    assert main(["explore", "run=music", "text=X:1\\nK:D\\nA2 B2 | c2", *SMALL]) == 0
    data = page_data(finished / "music/explore.html")
    assert "".join(data["shown"][1:]) == "X:1\nK:D\nA2 B2 | c2"
    run = open_run(GenerateConfig(run="music", threads=1))
    ids = torch.tensor(run.task.vocabulary.encode(data["shown"]))[:, None]
    h, _ = run.model.hidden(ids)
    # a byte has 255 steps over twice the largest value of at most 1
    np.testing.assert_allclose(matrix(data, 0, "h"), h[:, 0], atol=1.01 / 255)
    expected = -run.model.decode(h).log_softmax(-1)[:-1, 0].gather(1, ids[1:]).squeeze(1)
    shown = values(data, "surprise")
    assert shown[0] == 0
    top = shown.max()  # what is rarer than 1 % is cut
    np.testing.assert_allclose(shown[1:], expected.clamp(max=top), atol=1.01 * top / 255)


def test_the_last_class_so_far_is_the_prediction(finished, capsys):
    assert main(["explore", "run=sentiment", "text=the cat was lovely and fine", *SMALL]) == 0
    data = page_data(finished / "sentiment/explore.html")
    capsys.readouterr()
    assert main(["predict", "run=sentiment", "text=the cat was lovely and fine", "threads=1", "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)["probabilities"]
    for label, share in expected.items():
        assert values(data, f"class:{label}")[-1] == pytest.approx(share, abs=0.51 / 255)


def test_a_unit_that_is_asked_for_is_held(finished, capsys):
    asked = ["explore", "run=music", "clamp=0:3=30,0:2=-30", "hold=0", "--json", *SMALL[:3]]
    assert main(asked) == 0
    (first, second) = json.loads(capsys.readouterr().out)["holds"]
    assert (first["layer"], first["quantity"], first["unit"]) == (0, "h", 3)
    assert [variant["held_at"] for variant in first["variants"]] == [None, 30]
    assert [variant["held_at"] for variant in second["variants"]] == [None, -30]
    written = page_data(finished / "music/explore.html")["written"]
    (free, held), (same, _) = (one["texts"] for one in written)
    assert free == same
    assert held != free
    assert main(["generate", "run=music", "length=12", "count=3", "--json"]) == 0
    generated = json.loads(capsys.readouterr().out)["texts"][0]
    assert "".join(free[1:]) == generated, "free is what generate writes with this seed"


def test_a_classifier_says_how_a_held_unit_moves_it(finished, capsys):
    assert main(["explore", "run=sentiment", "clamp=0:1=0.9", "hold=0", "--json", "threads=1"]) == 0
    (hold,) = json.loads(capsys.readouterr().out)["holds"]
    free, held = hold["variants"]
    for label in ("neg", "pos"):
        change = held["shares"][label]["mean"] - free["shares"][label]["mean"]
        assert held["changes"][label]["mean"] == pytest.approx(change, abs=1e-6)  # sums of float32 probabilities
    assert held["changes"]["pos"]["mean"] == pytest.approx(-held["changes"]["neg"]["mean"], abs=1e-6)
    assert hold["sentence"].startswith("unit 1 of layer 0 (h) held at 0.90: the probability of pos changes by ")


def test_a_file_of_texts_and_a_page_elsewhere(finished, tmp_path):
    (tmp_path / "reviews.txt").write_text("a lovely cat\n\nan awful mat\n")
    page = tmp_path / "new" / "mine.html"
    assert main(["explore", "run=sentiment", f"file={tmp_path / 'reviews.txt'}", f"output={page}", *SMALL]) == 0
    assert page_data(page)["starts"] == [0, 3]
    assert json.loads(page.with_suffix(".json").read_text())["texts"] == 2
    assert not (finished / "sentiment/explore.html").exists()
    (tmp_path / "words.txt").write_text("the cat sat\n\non a mat\n")
    assert main(["explore", "run=next_word", f"file={tmp_path / 'words.txt'}", f"output={page}", *SMALL]) == 0
    assert page_data(page)["shown"] == "<eos> the cat sat <eos> on a mat".split()


def test_the_page_shows_what_fits_and_from_the_half_that_chose_nothing(finished):
    assert main(["explore", "run=next_word", "megabytes=0.0031", *SMALL, "hold=0"]) == 0
    data = page_data(finished / "next_word/explore.html")
    assert data["from_reporting_half"]
    places = 6 * len(data["quantities"]) + len(data["values"]) + len(data["flags"])
    assert len(data["shown"]) == int(3_100 * 3 / 4 / places)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["run=music", "clamp=0=1"],
            2,
            "clamp must be LAYER:UNIT=VALUE or LAYER:cUNIT=VALUE, as in 0:137=1.0, got '0=1'",
        ),
        (["run=music", "clamp=0:6=1"], 2, "clamp=0:6=1: there is no unit 6; units are 0 to 5"),
        (["run=music", "clamp=0:1=1e400"], 2, "clamp=0:1=1e400: a value must be from -1e+06 to 1e+06"),
        (["run=music", "clamp=3:0=1"], 2, "clamp=3:0=1: there is no layer 3; layers are 0 to 0"),
        (["run=music", "output=page.txt"], 2, "output must be a file .html, got page.txt"),
        (["run=music", "text=a", "file=b"], 2, "explore reads text=... or file=..., got both; give one"),
        (["run=music", "text=ℵ"], 3, "characters that no training tune has: 'ℵ'"),
        (["run=sentiment", "text=***"], 3, "text 1 has no word to read: '***'"),
        (["run=next_word", "file=/nope"], 3, "cannot read /nope"),
    ],
)
def test_what_cannot_be_explored_is_told_in_one_line(arguments, code, message, finished, capsys):
    assert main(["explore", *arguments, "threads=1"]) == code
    assert message in capsys.readouterr().err


def test_a_model_that_reads_both_ways_is_refused(train, capsys):
    train("sentiment", "model.bidirectional=true", "trainer.max_steps=1", name="both")
    assert main(["explore", "run=both", "threads=1"]) == 2
    assert "both reads in both directions" in capsys.readouterr().err


def test_a_token_may_be_anything_without_ending_the_script(train, tmp_path, outputs):
    words = "</script> <!-- a b \" & ' \\".split()
    (tmp_path / "odd.txt").write_text(
        "".join(" ".join(np.random.default_rng(n).permutation(words)) + "\n" for n in range(99))
    )
    train("next_word", f"task.corpus={tmp_path / 'odd.txt'}", "trainer.max_steps=1", name="odd")
    assert main(["explore", "run=odd", *SMALL]) == 0
    text = (outputs / "odd/explore.html").read_text()
    assert text.count("</script>") == 1
    assert {"<", "/", "script", ">"} <= set(page_data(outputs / "odd/explore.html")["shown"])


def test_every_setting_changes_what_is_found_or_shown(finished):
    base = {"run": "music", "threads": 1, "clamp": "0:0=0.9", "hold": 0, "count": 3, "length": 12, "tokens": 900}
    path = finished / "music/explore.html"

    def explored(**changes: object) -> dict:
        assert main(["explore", *(f"{key}={value}" for key, value in {**base, **changes}.items())]) == 0
        return page_data(path)

    before = explored()
    assert explored() == before, "the same settings give the same page"
    texts = {"prompt": "X:1", "count": 4, "length": 9, "temperature": 0, "seed": 1, "clamp": "0:1=0.9", "hold": 2}
    for key, value in texts.items():
        assert explored(**{key: value})["holds"] != before["holds"] or key == "hold", key
    assert explored(split="valid")["source"].startswith("valid split of ")
    assert explored(tokens=150)["tokens"] <= 150 < before["tokens"] <= 900
    assert all(len(found) <= 1 for by_quantity in explored(top=1)["ranked"].values() for found in by_quantity.values())
    assert explored(checkpoint="last")["checkpoint"] == "last"
