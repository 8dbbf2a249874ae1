"""Scores of the validation split while a run trains and of the test split at its end."""

import math

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from rnnlab.config import Averaging, SGDConfig
from rnnlab.errors import DivergedError
from rnnlab.tasks.base import score
from rnnlab.training.checkpoint import load_model

TASKS = ("next_word", "sentiment", "music")
CPU = torch.device("cpu")


def test_a_score_that_is_no_number_is_never_the_best(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, lab.config(eval_every_steps=2, max_steps=8))
    found = iter([math.nan, 5.0, math.inf, 4.0])
    evaluate = trainer.scoring.score

    class Fixed:
        def results(self):
            value = next(found)
            return {"loss": value, "perplexity": value}

    monkeypatch.setattr(trainer.scoring, "score", lambda split, *_: Fixed() if split == "valid" else evaluate(split))
    best = []
    monkeypatch.setattr(
        trainer, "_report", lambda facts: best.append((facts["best_step"], trainer.counters.without_gain))
    )
    trainer.fit()
    assert best == [(-1, 1), (4, 0), (4, 1), (8, 0)]


@pytest.mark.parametrize(
    ("valid", "test", "message"),
    [
        ((math.nan, math.inf), 3.0, "no evaluation gave a finite valid/perplexity, though the weights are finite"),
        ((5.0, math.nan), math.inf, "test/loss is inf with the best weights, those of step 2, though"),
        ((5.0, math.nan), 3.0, None),  # the best weights are not the last
    ],
)
def test_a_run_whose_result_is_no_number_has_diverged(lab, tmp_path, monkeypatch, valid, test, message):
    trainer = lab.trainer(tmp_path, lab.config(eval_every_steps=2, max_steps=4, num_samples=0))
    scores = trainer.scoring.score(split="valid")
    found = iter((*valid, test))

    def scored(split, *_):
        value = next(found)
        monkeypatch.setattr(scores, "results", lambda: {"loss": value, "perplexity": value})
        return scores

    monkeypatch.setattr(trainer.scoring, "score", scored)
    if message is None:
        trainer.fit()
        assert (trainer.state.metrics["valid/perplexity"], trainer.counters.best_step) == (5.0, 2)
    else:
        with pytest.raises(DivergedError, match=message + r".* Try optimizer.lr=0.001 \(now 0.01\)"):
            trainer.fit()
    assert trainer.state.metrics["test/perplexity"] == test


def test_an_accuracy_of_logits_that_are_no_numbers_is_none(lab, tmp_path, monkeypatch):
    config = lab.config("sentiment", eval_every_steps=2, max_steps=2, num_samples=0)
    trainer, task = lab.trainer(tmp_path, config), lab.task(config)
    forward = task.forward

    def spoiled(model, *arguments):
        outputs, state = forward(model, *arguments)
        return outputs if model.training else outputs * math.nan, state

    monkeypatch.setattr(task, "forward", spoiled)
    with pytest.raises(DivergedError, match="no evaluation gave a finite valid/accuracy"):
        trainer.fit()
    assert math.isfinite(trainer.state.metrics["test/accuracy"])  # the share of the first class


@pytest.mark.parametrize("task", TASKS)
def test_scoring_saving_and_logging_change_nothing_that_is_trained(lab, tmp_path, task):
    often = {
        "eval_every_steps": 1,
        "checkpoint_every_steps": 1,
        "log_every_steps": 1,
        "num_samples": 2,
        "histograms": True,
    }
    seldom = {"eval_every_steps": 1000, "log_every_steps": 1000, "num_samples": 0}
    ends = []
    for number, changes in enumerate((often, seldom)):
        trainer = lab.trainer(tmp_path / str(number), lab.config(task, dropout=0.4, max_steps=6, **changes))
        trainer.scoring.test = lambda: None  # which takes up the best weights
        trainer.fit()
        ends.append((parameters_to_vector(trainer.model.parameters()), torch.get_rng_state()))
    assert ends[0][0].equal(ends[1][0])
    assert ends[0][1].equal(ends[1][1])


def test_the_batch_size_of_scoring_changes_no_score(lab, tmp_path):
    found = []
    for size in (1, 3, 64):
        config = lab.config("music", max_steps=3, eval_batch_size=size, num_samples=0)
        found.append(lab.fit(tmp_path / str(size), config).state.metrics)
    assert found[0] == pytest.approx(found[1], rel=1e-6)  # sums of losses in float32
    assert found[0] == pytest.approx(found[2], rel=1e-6)


def test_before_the_average_begins_the_raw_weights_are_scored(lab, tmp_path, points):
    found = []
    for number, option in enumerate((Averaging.none, Averaging.mean)):
        config = lab.config(averaging=option, averaging_start_epoch=1, eval_every_steps=4, max_steps=16, num_samples=0)
        trainer = lab.fit(tmp_path / str(number), config)
        found.append(points(tmp_path / str(number))["valid/loss"])
    assert [found[0][step] == found[1][step] for step in (4, 8, 12, 16)] == [True, True, True, False]
    assert trainer.counters.best_step in (4, 8, 12, 16)


def test_the_test_score_is_that_of_the_best_weights(lab, tmp_path):
    rough = SGDConfig(name="sgd", lr=20.0)
    config = lab.config(optimizer=rough, clip_grad_norm=None, eval_every_steps=1, max_steps=12, num_samples=0)
    trainer = lab.fit(tmp_path, config)
    assert 1 < trainer.counters.best_step < 12, "a rate this high makes the scores go up and down"
    checkpoints = tmp_path / "checkpoints"
    assert (checkpoints / "best").resolve().name == f"step-{trainer.counters.best_step:08d}"
    assert (checkpoints / "last").resolve().name == "step-00000012"
    found = {}
    for which in ("best", "last"):
        trainer.model.load_state_dict(load_model(checkpoints, which))
        for split in ("valid", "test"):
            scores = score(trainer.task, trainer.model, split, batch_size=64, device=CPU)
            found[which, split] = scores.results()["loss"]
    assert trainer.state.metrics["test/loss"] == found["best", "test"]
    assert trainer.state.metrics["valid/loss"] == found["best", "valid"] < found["last", "valid"]
    assert found["best", "valid"] == pytest.approx(math.log(trainer.counters.best_score))
    assert trainer.scoring.details == {"targets": trainer.task.corpus["test_tokens"]}


def test_an_error_in_an_evaluation_reaches_the_caller_and_closes_the_log(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, lab.config(num_samples=0))
    monkeypatch.setattr(trainer.scoring, "score", lambda split, *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert trainer.logbook._files.events._file.closed
