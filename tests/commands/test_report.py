"""`rnnlab report`: one file that holds all of a run or a sweep, and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from rnnlab.cli import main as rnnlab
from rnnlab.commands.report import main
from rnnlab.errors import CannotWriteError, CheckpointError
from rnnlab.generation.abc.page import PLAYER
from rnnlab.json_files import read_json, write_json

EVIL = "<script>alert(1)</script>"


def cells(page: str) -> list[str]:
    return re.findall(r"<t[dh][^>]*>([^<]*)", page)


def test_the_page_of_a_run_holds_curves_scores_matrix_settings_and_command(finished, capsys):
    assert main(["sentiment"]) == 0
    path = finished / "sentiment" / "report.html"
    assert f"written: {path}" in capsys.readouterr().out
    page = path.read_text()
    result, run = (read_json(finished / "sentiment" / name) for name in ("result.json", "run.json"))
    assert page.count("<polyline") >= 6
    assert f"{result['metrics']['test/accuracy']:.4f}" in cells(page)
    assert all(f">{count:,}</td>" in page for row in result["confusion"] for count in row)
    assert "model.hidden_size" in cells(page)
    assert "rnnlab train task=sentiment" in page
    assert run["corpus"]["sha256"] in page
    assert run["versions"]["torch"] in page
    assert not re.search(r"https?://|<script|<link|src=", page)


def test_what_a_run_wrote_or_was_called_is_text_on_its_page(finished):
    sample = next((finished / "music" / "samples").glob("step-*.txt"))
    sample.write_text(f"X:1\n{EVIL}\n")
    content = read_json(finished / "music" / "run.json")
    content["overrides"].append(f"task.corpus={EVIL}")
    content["corpus"]["name"] = content["config"]["task"]["corpus"] = content["backend"] = EVIL
    write_json(finished / "music" / "run.json", content)
    result = read_json(finished / "music" / "result.json")
    write_json(finished / "music" / "result.json", {**result, "status": "failed", "error": EVIL})
    (finished / "music").rename(finished / "a<script>b")
    assert main(["a<script>b"]) == 0
    page = (finished / "a<script>b" / "report.html").read_text()
    assert "<script" not in page.replace(f"<script>{PLAYER}</script>", "", 1)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "<h1>a&lt;script&gt;b" in page


def test_the_tunes_of_a_run_stand_on_its_page_as_scores_that_one_script_plays(finished):
    sample = max((finished / "music" / "samples").glob("step-*.txt"))
    sample.write_text("X:1\nT:One\nM:4/4\nL:1/4\nK:C\nCDEF|G4|\n\nX:1\nT:Two\nK:G\nGABc|\n\nno tune\n")
    assert main(["music"]) == 0
    page = (finished / "music" / "report.html").read_text()
    assert re.findall(r"<h3>(\d\. *\w*)</h3>", page) == ["1. One", "2. Two", "3."]
    assert page.count('class="score"') == page.count("Play</button>") == 2
    assert "no sound: the tune has no key" in page
    digest = base64.b64encode(hashlib.sha256(PLAYER.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in page
    assert page.count("<script>") == 1
    data = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert [len(tune["notes"]) for tune in data] == [5, 4]


@pytest.fixture
def sweep(finished):
    """A sweep of two models and two seeds, copied from a run; scores as given; one job left nothing."""
    import shutil

    scores = {("lstm", 0): 2.0, ("lstm", 1): 2.2, ("gru", 0): 1.5, ("gru", 1): 1.7}
    folder = finished / "sweep-7"
    for number, ((cell, seed), score) in enumerate(scores.items()):
        run = folder / f"{number}-{cell}-seed={seed}"
        shutil.copytree(finished / "music", run)
        content, result = read_json(run / "run.json"), read_json(run / "result.json")
        content["config"]["model"]["cell"], content["config"]["seed"] = cell, seed
        content["overrides"] = ["task=music", f"model={cell}", f"seed={seed}"]
        result["metrics"] |= {"valid/bits_per_char": score, "test/bits_per_char": 5 - score}  # which must not choose
        write_json(run / "run.json", content)
        write_json(run / "result.json", result)
    lost = {"job": "sweep-7/4-rnn-seed=0", "status": "failed"}
    write_json(folder / "sweep.json", {"format": 1, "jobs": [lost, {"job": "sweep-7/0-lstm-seed=0"}]})
    return folder


def test_the_page_of_a_sweep_ranks_configurations_with_their_intervals(sweep):
    assert main(["sweep-7"]) == 0
    page = (sweep / "report.html").read_text()
    found = cells(page)
    # Mean of two seeds +- t(0.975, 1) * std / sqrt(2): 12.706 * 0.1414 / 1.4142 = 1.2706.
    first, second = found.index("gru"), found.index("lstm")
    assert found[first : first + 6] == ["gru", "2", "1.6000", "0.1414", "0.3294 to 2.8706", "3.4000"]
    assert found[second : second + 6] == ["lstm", "2", "2.1000", "0.1414", "0.8294 to 3.3706", "2.9000"]
    assert first < second
    assert "Configurations by valid/bits_per_char, the best first" in page
    assert "4 of 5 runs done; varied: model.cell, seed" in page
    assert "4-rnn-seed=0" in found
    assert "rnnlab train task=music model=gru seed=0" in page
    assert page.count("<polyline") >= 4  # parallel axes


def test_a_sweep_whose_runs_all_failed_has_a_page_too(sweep):
    for path in sweep.glob("*/result.json"):
        write_json(path, {"status": "failed", "error": "DivergedError: nan", "steps": 3})
    assert main(["sweep-7"]) == 0
    page = (sweep / "report.html").read_text()
    assert "0 of 5 runs done" in page
    assert page.count("DivergedError: nan") == 4


def test_the_page_goes_where_it_is_wanted_or_says_why_not(finished, tmp_path, capsys):
    wanted = tmp_path / "here.html"
    assert main(["run=music", "--output", str(wanted)]) == 0
    assert wanted.read_text().startswith("<!doctype html>")
    assert not (finished / "music" / "report.html").exists()
    with pytest.raises(CannotWriteError, match="there is no folder"):
        main(["music", "--output", str(tmp_path / "no" / "x.html")])
    with pytest.raises(CannotWriteError, match="cannot write"):
        main(["music", "--output", str(tmp_path)])
    for name in ("nothing", "", ".."):
        with pytest.raises(CheckpointError, match="no run"):
            main([name])
    assert rnnlab(["report", "nothing"]) == 4
