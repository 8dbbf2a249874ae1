"""Opening finished runs: what a model would take is known before anything is allocated."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rnnlab.cli import main
from rnnlab.commands import _finished
from rnnlab.commands._finished import build_model, check_size, restore_task, saved_settings
from rnnlab.config import Cell, Decoder, Embedding, Initialisation, Pooling
from rnnlab.errors import CheckpointError

VARIANTS = {
    "music": {
        **{cell.value: {"cell": cell} for cell in Cell},
        "orthogonal": {"cell": Cell.gru, "initialisation": Initialisation.orthogonal, "layer_norm": True},
        "identity": {"cell": Cell.rnn, "initialisation": Initialisation.identity},
        "uniform": {"initialisation": Initialisation.uniform, "init_range": 0.1, "forget_gate_bias": 1.0},
        "one-hot": {"embedding": Embedding.one_hot, "weight_drop": 0.2},
    },
    "next_word": {
        "adaptive": {"decoder": Decoder.adaptive, "cutoffs": [4, 9], "hidden_size": 16},
        "sampled": {"sampled_words": 8},
        "tied": {"tie_weights": True, "embedding_size": 6},
    },
    "sentiment": {"both ways": {"bidirectional": True, "pooling": Pooling.attention, "num_layers": 2}},
}


@pytest.mark.parametrize(("task", "variant"), [(task, name) for task, names in VARIANTS.items() for name in names])
def test_a_models_size_is_known_without_its_numbers(task: str, variant: str, finished: Path):
    config = saved_settings(finished / task)
    config.model = replace(config.model, **VARIANTS[task][variant])
    built = restore_task(config, finished / task)
    with torch.device("meta"), _finished._Unfilled():
        shapes = build_model(built, config).state_dict()
    model = build_model(built, config).state_dict()
    assert {name: tensor.shape for name, tensor in shapes.items()} == {n: tensor.shape for n, tensor in model.items()}
    assert all(tensor.is_meta for tensor in shapes.values())
    check_size(built, config, finished / task)  # near enough to what was saved, to be compared name by name


def test_a_run_that_has_saved_nothing_is_what_its_settings_say(finished: Path, tmp_path: Path, monkeypatch):
    config = saved_settings(finished / "music")
    task = restore_task(config, finished / "music")
    monkeypatch.setattr(_finished, "ALLOWANCE", 0)
    config.model = replace(config.model, hidden_size=400)
    check_size(task, config, tmp_path)
    with pytest.raises(CheckpointError, match=r"run.json describes a model of [\d,]+ bytes, but its checkpoints hold"):
        check_size(task, config, finished / "music")


USES = {
    "evaluate": ["run=music"],
    "generate": ["run=music", "length=9"],
    "predict": ["run=sentiment", "text=a fine day"],
    "xray": ["run=music"],
    "explore": ["run=music"],
}


@pytest.mark.parametrize("verb", USES)
@pytest.mark.parametrize("nth", [1, 2], ids=["as the run is opened", "in the work"])
def test_ctrl_c_ends_a_use_of_a_run_in_one_line_and_leaves_the_run_as_it_was(
    verb: str, nth: int, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    evaluate, calls = torch.nn.Module.eval, []

    def struck(self: torch.nn.Module) -> torch.nn.Module:
        calls.append(1)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(self)

    monkeypatch.setattr(torch.nn.Module, "eval", struck)
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    capsys.readouterr()
    code = main([verb, *USES[verb]])
    told = capsys.readouterr()
    assert len(calls) == nth
    assert code == 130, told.err
    assert told.err.splitlines()[-1] == "stopped"
    assert "Traceback" not in told.err
    assert told.out == ""
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before
