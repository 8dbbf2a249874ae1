"""What a run that diverged computes is shown as a score by no command."""

from __future__ import annotations

import math

import torch

from rnnlab.cli import main
from rnnlab.commands import xray
from rnnlab.commands._finished import open_run


def test_every_command_that_scores_ends_with_the_exit_code_of_training(finished, train, capsys):
    rates = ["optimizer=sgd", "optimizer.lr=100000", "trainer.clip_grad_norm=null"]
    diverged = train("next_word", "model=rnn", "model.nonlinearity=relu", *rates, "trainer.bptt_len=2", exit_code=5)
    said = capsys.readouterr().err
    assert "though the weights are finite" in said
    assert "or trainer.clip_grad_norm=1" in said  # not a lower one: there is none
    for command in (
        ["evaluate", "run=run"],
        ["evaluate", "run=run", "split=valid", "--json"],
        ["compare", "next_word", "run", "--resamples", "100", "--threads", "1"],
        ["explore", "run=run"],
        ["predict", "run=run", f"text={'the cat ' * 300}"],
    ):
        assert main(command) == 5, command
        printed = capsys.readouterr()
        errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "diverged" in errors[0], command
        assert printed.out == "", command
    assert not list(diverged.glob("explore.*"))
    assert main(["show", "run"]) == main(["report", "run"]) == main(["diagnose", "run=run"]) == 0


def test_xray_measures_no_model_that_computes_no_numbers(finished, monkeypatch, capsys):
    arguments = ["xray", "run=music", "steps=12", "rows=2", "places=8"]

    def without_derivatives(*given, **named):
        return torch.linalg.svdvals(torch.full((2, 2), math.nan))

    with monkeypatch.context() as patch:
        patch.setattr(xray, "look", without_derivatives)  # as where the loss is a number still
        assert main(arguments) == 5
        assert "music has derivatives that are nan or infinite" in capsys.readouterr().err

    def spoilt(use):
        run = open_run(use)
        next(run.model.parameters()).data.fill_(math.nan)
        return run

    monkeypatch.setattr(xray, "open_run", spoilt)
    assert main(arguments) == 5
    assert "valid/loss of music is nan: its weights come from a run that diverged" in capsys.readouterr().err
    assert not (finished / "music" / "xray.json").exists()
