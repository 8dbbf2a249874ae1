"""The rules on numbers made up: what each asks for, what it advises, what it leaves to another."""

from dataclasses import replace

import pytest

from rnnlab.diagnosis.rules import RULES, diagnose
from rnnlab.diagnosis.signals import Signals
from rnnlab.reports.curves import Curve


def names(signals):
    return [one.rule.name for one in diagnose(signals)]


CONFIG = {
    "task": {"name": "next_word"},
    "model": {"cell": "lstm", "hidden_size": 100, "embedding_size": 100, "dropout": 0.0, "initialisation": "default"},
    "optimizer": {"name": "sgd", "lr": 1.0},
    "scheduler": {"name": "constant"},
    "trainer": {"clip_grad_norm": 1.0, "clip_grad_value": None, "max_epochs": 4, "batch_size": 20, "patience": None},
}
TWENTY = list(range(1, 21))


def signals(**others):
    """A healthy run: learning, and slowing down."""
    curves = {
        "train/loss": Curve(TWENTY, [5 - 0.1 * step for step in TWENTY]),
        "valid/loss": Curve([5, 10, 15, 20], [4.6, 4.2, 4.0, 3.95]),
        "optim/lr": Curve(TWENTY, [1.0] * 20),
        "optim/grad_norm": Curve(TWENTY, [0.5] * 20),
        "optim/clipped_share": Curve(TWENTY, [0.05] * 20),
        "optim/update_ratio": Curve(TWENTY, [1e-3] * 20),
    }
    curves |= others.pop("curves", {})
    whole = Signals(CONFIG, curves, {}, steps=400, baseline=6.0, num_parameters=10**6, num_targets=10**6)
    return replace(whole, **others)


def test_the_healthy_signals_these_tests_start_from_yield_none():
    assert names(signals()) == []


def test_no_signals_no_findings():
    assert names(Signals({}, {}, {})) == []
    assert names(Signals(CONFIG, {}, {}, status="running", exit_code=None)) == []


@pytest.mark.parametrize("missing", ["train/loss", "valid/loss", "optim/lr", "optim/grad_norm", "optim/update_ratio"])
def test_an_older_run_lacks_a_curve_and_is_not_blamed_for_it(missing):
    assert names(signals(curves={missing: Curve()})) == []


def test_clipping_names_the_limit_and_the_rate_that_give_the_same_step():
    curves = {"optim/clipped_share": Curve(TWENTY, [0.97] * 20), "optim/grad_norm": Curve(TWENTY, [4.0] * 20)}
    (one,) = diagnose(signals(curves=curves))
    assert one.line() == (
        "clipping hit 97 % of steps: gradients are 4 long, the limit is 1; "
        "try trainer.clip_grad_norm=10 optimizer.lr=0.2"  # 3 x 4 and 1 x 1 / 4, to one digit
    )


def test_adam_keeps_its_rate_where_clipping_is_the_rule():
    curves = {"optim/clipped_share": Curve(TWENTY, [1.0] * 20), "optim/grad_norm": Curve(TWENTY, [4.0] * 20)}
    config = {**CONFIG, "optimizer": {"name": "adam", "lr": 1e-3}}
    (one,) = diagnose(signals(curves=curves, config=config))
    assert one.finding.overrides == ("trainer.clip_grad_norm=10",)


@pytest.mark.parametrize(
    ("found", "advised"),
    [
        ({"skipped": 3}, "optimizer.lr=0.3"),
        ({"rollbacks": 1}, "optimizer.lr=0.1"),
        ({"exit_code": 5}, "optimizer.lr=0.1"),
    ],
)
def test_steps_that_were_skipped_though_clipped_ask_for_a_lower_rate(found, advised):
    (one,) = diagnose(signals(**found))
    assert one.rule.name == "skipped_steps"
    assert one.finding.overrides == (advised,)


def test_a_run_that_overfits_with_dropout_gets_a_smaller_model_and_keeps_its_patience():
    curves = {
        "train/loss": Curve(TWENTY, [5 - 0.2 * step for step in TWENTY]),
        "valid/loss": Curve([5, 10, 15, 20], [4.6, 4.2, 4.8, 5.2]),
    }
    config = {**CONFIG, "model": {**CONFIG["model"], "dropout": 0.5}, "trainer": {**CONFIG["trainer"], "patience": 9}}
    (one,) = diagnose(signals(curves=curves, config=config))
    assert one.rule.name == "overfitting"
    assert one.finding.overrides == ("model.hidden_size=50",)


def test_a_cause_is_told_without_its_consequences():
    bad = {
        "train/loss": Curve(TWENTY, [9.0] * 20),
        "valid/loss": Curve([5, 10, 15, 20], [9.0] * 4),
        "optim/update_ratio": Curve(TWENTY, [0.1] * 20),
        "optim/clipped_share": Curve(TWENTY, [1.0] * 20),
        "optim/grad_norm": Curve(TWENTY, [50.0] * 20),
    }
    assert names(signals(curves=bad)) == ["lr_too_high"]
    without_the_cause = {**bad, "optim/update_ratio": Curve()}
    assert names(signals(curves=without_the_cause)) == ["baseline_not_beaten", "clipping"]


def test_a_forget_gate_that_is_open_for_most_words_is_a_memory_and_no_illness():
    assert names(signals(units={"layer_0/forget_right": 0.95, "layer_0/saturated": 0.6})) == []
    assert names(signals(units={"layer_0/forget_right": 0.999})) == ["saturated"]


def test_dead_units_are_no_illness_where_the_others_solve_the_task():
    units = {"layer_0/dead": 0.9}
    assert names(signals(units=units)) == ["dead_units"]
    solved = {"valid/loss": Curve([5, 10, 15, 20], [4.6, 4.2, 0.5, 0.4])}  # the best guess has 6
    assert names(signals(units=units, curves=solved)) == []


def test_a_machine_that_waits_wants_larger_batches():
    assert names(signals(arithmetic_share=0.06)) == []
    (one,) = diagnose(signals(arithmetic_share=0.02))
    assert one.rule.name == "slow"
    assert one.finding.overrides == ("trainer.batch_size=80",)


def test_every_limit_has_a_source_and_every_explained_rule_exists():
    known = {rule.name for rule in RULES}
    for rule in RULES:
        assert len(rule.source) > 10
        assert rule.explains <= known
