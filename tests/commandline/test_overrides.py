"""Typos and types: what a mistyped key or value is told."""

from __future__ import annotations

import pytest

from rnnlab.commandline.compose import compose, read_arguments, settings_of
from rnnlab.commandline.menu import read_menu
from rnnlab.commandline.overrides import parse, type_problem, unknown_key, value_problems
from rnnlab.config import COMMANDS, SCHEMAS, TrainerConfig
from rnnlab.schema import Setting, settings
from rnnlab.wording import close_matches, did_you_mean

# what was typed -> what was meant; one or two slips each
TYPOS = {
    "model.hiden_size": "model.hidden_size",
    "model.hidden_sise": "model.hidden_size",
    "model.hiddensize": "model.hidden_size",
    "hiden_size": "model.hidden_size",
    "model.num_layer": "model.num_layers",
    "model.numlayers": "model.num_layers",
    "model.nun_layers": "model.num_layers",
    "model.bidirectionl": "model.bidirectional",
    "model.bidrectional": "model.bidirectional",
    "model.embeding": "model.embedding",
    "model.embeding_size": "model.embedding_size",
    "model.embedding_sizes": "model.embedding_size",
    "model.tie_weight": "model.tie_weights",
    "model.tied_weights": "model.tie_weights",
    "model.dropuot": "model.dropout",
    "dropot": "model.dropout",
    "model.nonlinearty": "model.nonlinearity",
    "model.initialization": "model.initialisation",
    "model.init_rnage": "model.init_range",
    "model.forget_bias": "model.forget_gate_bias",
    "model.poling": "model.pooling",
    "model.backnd": "model.backend",
    "modl.cell": "model.cell",
    "optimzer.lr": "optimizer.lr",
    "optimiser.lr": "optimizer.lr",
    "optimizer.weigth_decay": "optimizer.weight_decay",
    "optimizer.beta_1": "optimizer.beta1",
    "optimizer.epss": "optimizer.eps",
    "trainer.batchsize": "trainer.batch_size",
    "trainer.bath_size": "trainer.batch_size",
    "batch_sise": "trainer.batch_size",
    "trainer.btpt_len": "trainer.bptt_len",
    "trainer.bptt_length": "trainer.bptt_len",
    "trainer.random_bpt": "trainer.random_bptt",
    "trainer.acumulate": "trainer.accumulate",
    "trainer.clip_gradnorm": "trainer.clip_grad_norm",
    "trainer.clip_grad_vale": "trainer.clip_grad_value",
    "trainer.max_epoch": "trainer.max_epochs",
    "trainer.maxepochs": "trainer.max_epochs",
    "max_epoch": "trainer.max_epochs",
    "trainer.max_step": "trainer.max_steps",
    "trainer.max_minute": "trainer.max_minutes",
    "trainer.patiance": "trainer.patience",
    "trainer.eval_every_step": "trainer.eval_every_steps",
    "trainer.averagin": "trainer.averaging",
    "trainer.averaging_decy": "trainer.averaging_decay",
    "trainer.presicion": "trainer.precision",
    "trainer.devise": "trainer.device",
    "trainer.treads": "trainer.threads",
    "trainer.log_every_step": "trainer.log_every_steps",
    "trainer.histogram": "trainer.histograms",
    "trainer.sample_length": "trainer.sample_len",
    "task.corpsu": "task.corpus",
    "task.max_length": "task.max_len",
    "task.min_coutn": "task.min_count",
    "task.truncat": "task.truncate",
    "trainer.lr": "optimizer.lr",
    "sed": "seed",
    "nmae": "name",
    "resum": "resume",
    "dry_rn": "dry_run",
    "modle": "model",
    "taks": "task",
    "optimizr": "optimizer",
    "schedular": "scheduler",
    "experimnt": "experiment",
    "exp": "experiment",
}


def test_nearly_every_typo_has_the_right_setting_among_three_suggestions(present: dict[str, Setting]):
    menu = read_menu("train")
    missed = []
    for typed, meant in TYPOS.items():
        told = unknown_key(typed, present, menu)
        suggested = told.partition("did you mean ")[2].rstrip("?").replace(" or ", ", ").split(", ")
        assert len(suggested) <= 3
        if meant not in suggested:
            missed.append((typed, told))
    assert len(TYPOS) >= 40
    assert len(missed) <= 0.05 * len(TYPOS), missed


def test_every_typo_of_a_choice_has_the_right_choice_first():
    for typed, meant in {"lstmm": "lstm", "lsmt": "lstm", "grru": "gru", "iirnn": "irnn"}.items():
        assert close_matches(typed, ["gru", "irnn", "lstm", "rnn"])[0] == meant


def test_a_word_that_is_close_to_nothing_gets_no_suggestion():
    assert did_you_mean("zzzzzz", ["model.hidden_size"]) == ""


@pytest.fixture(scope="module")
def present() -> dict[str, Setting]:
    return settings_of(compose(read_arguments("train", [])))


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("model.hiden_size=3", "unknown setting model.hiden_size; did you mean model.hidden_size"),
        ("model=xyz", "model has no choice 'xyz'; choose one of gru, irnn, lstm, rnn"),
        (
            "optimizer.momentum=0.9",
            "unknown setting optimizer.momentum: only optimizer=momentum, rmsprop or sgd have it",
        ),
        ("model.hidden_size=1.5", "model.hidden_size must be a whole number, got 1.5"),
        ("trainer.max_steps=1e4", "trainer.max_steps must be a whole number or null, got 10000.0; write 10000"),
        ("model.cutoffs=5", "model.cutoffs must be a list [1,2] or null, got 5"),
        ("model.cutoffs=[5,x]", "model.cutoffs must be a list [1,2] or null, got [5, 'x']"),
        ("model.hidden_size='5'", "model.hidden_size must be a whole number, got '5'"),
        ("model.hidden_size=true", "model.hidden_size must be a whole number, got true"),
        ("model.hidden_size=null", "model.hidden_size must be a whole number, got null"),
        ("model.hidden_size=[1,2]", "model.hidden_size must be a whole number, got [1, 2]"),
        ("model.hidden_size={a:1}", "model.hidden_size must be a whole number, got {'a': 1}"),
        ("model.hidden_size=???", "model.hidden_size must be given, got ???"),
        ("model.hidden_size=", "model.hidden_size must be a whole number, got ''"),
        ("model.bidirectional=2", "model.bidirectional must be true or false, got 2"),
        ("model.dropout=much", "model.dropout must be a number, got 'much'"),
        ("model.cell=lstn", "model.cell must be one of rnn, lstm, gru, got 'lstn'; did you mean lstm?"),
        ("trainer.device=gpu", "trainer.device must be one of auto, cpu, cuda, mps, got 'gpu'; use cuda"),
        ("trainer.device=GPU", "got 'GPU'; use cuda"),
        ("trainer.device=cud", "got 'cud'; did you mean cuda or cpu?"),
        ("trainer.precision=bfloat16", "trainer.precision must be one of fp32, bf16, got 'bfloat16'; use bf16"),
        ("model.cell=gpu", "model.cell must be one of rnn, lstm, gru, got 'gpu'; did you mean gru?"),
        ("model.cell=1", "model.cell must be one of rnn, lstm, gru, got 1"),
        ("task.corpus=null", "task.corpus must be text, got null"),
        ("task.corpus=a(b", """put it in quotes: 'task.corpus="a(b"'"""),
        ("optimizer.name=sgd", "optimizer.name is set by the choice of optimizer; it cannot be set alone"),
        ("model={hidden_size:3}", "model takes a choice (gru, irnn, lstm, rnn), got {'hidden_size': 3}"),
        ("model=null", "model takes a choice (gru, irnn, lstm, rnn), got null"),
        ("+model.hidden_size=3", "+ cannot add a setting; write model.hidden_size=3"),
        ("+model.hiden_size=3", "+ cannot add a setting; did you mean model.hidden_size"),
        ("+model=gru", "+model: write model=gru, without +"),
        ("~model.dropout", "~model.dropout: settings cannot be taken away"),
        ("model@other=lstm", "model@other=lstm: @ is not used here; write model=..."),
        ("lstm", "lstm: a setting is key=value; did you mean model=lstm?"),
        ("trainer.batch_size", "trainer.batch_size: its value is missing; write trainer.batch_size=..."),
        ("=3", "=3: a setting's name is missing before ="),
        ("seed=0,1", "seed takes one value, got '0,1'; lists of values sweep: add -m"),
        ("seed=range(3)", "seed takes one value, got 'range(3)'; lists of values sweep: add -m"),
        ("model.hidden_size=3\n4", "model.hidden_size: a value has no control characters"),
        ("experiment=null", "experiment is none unless it is given"),
        ("hydra.run.dir=x", "hydra.run.dir cannot be set outside a sweep"),
    ],
)
def test_a_mistake_is_told_in_one_line(typed: str, message: str, present: dict[str, Setting]):
    menu = read_menu("train")
    parsed, found = parse([typed], menu, sweep=False)
    found += value_problems(parsed, present, menu)
    assert len(found) == 1
    assert message in found[0]
    assert "\n" not in found[0]


def every_setting() -> list[Setting]:
    schemas = [(TrainerConfig, "trainer."), *((schema, "") for schema in COMMANDS.values())]
    schemas += [(schema, f"{group}.") for group, forms in SCHEMAS.items() for schema in forms.values()]
    return [one for schema, prefix in schemas for one in settings(schema, prefix).values() if not one.is_section]


NUMBERS = [setting for setting in every_setting() if setting.kind in (int, float)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1e308, 1e308, 2**63, -(2**63)])
def test_no_number_may_be_nan_infinite_or_huge(value: float):
    for setting in NUMBERS:
        if setting.kind is int and isinstance(value, float):
            assert "must be a whole number" in str(type_problem(setting, value)), setting.key
        else:
            assert f"got {value}" in str(setting.problem(value)), setting.key


@pytest.mark.parametrize("value", [True, False, "", "abc", "5", [1], {"a": 1}, "???"])
def test_no_number_may_be_something_else(value: object):
    for setting in NUMBERS:
        assert "got " in str(type_problem(setting, value)), setting.key


def test_no_whole_number_may_be_a_fraction_and_no_switch_a_number():
    for setting in every_setting():
        if setting.kind is int:
            assert "must be a whole number" in str(type_problem(setting, 1.5)), setting.key
        if setting.kind is bool:
            assert type_problem(setting, 2) == "must be true or false, got 2"
            assert [type_problem(setting, value) for value in (True, False, "yes", "off")] == [None] * 4


def test_null_is_for_optional_settings_only():
    for setting in every_setting():
        assert (type_problem(setting, None) is None) == setting.optional, setting.key


def test_every_setting_a_user_may_set_has_a_line_of_help():
    chosen = {"name", "task.name", "optimizer.name", "scheduler.name"}  # set by the choice of a file
    assert {setting.key for setting in every_setting() if not setting.doc} <= chosen


def test_every_default_is_within_its_limits():
    for setting in every_setting():
        if setting.default != "???":
            assert setting.problem(setting.default) is None, setting.key
