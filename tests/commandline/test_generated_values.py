"""Every numeric setting of every command and choice, generated from the schema, against every kind of wrong value."""

from __future__ import annotations

import pytest

from rnnlab.commandline.compose import Arguments, compose, compose_request, read_arguments, settings_of
from rnnlab.commandline.menu import read_menu
from rnnlab.commandline.overrides import parse, value_problems
from rnnlab.config import SCHEMAS
from rnnlab.errors import ConfigError
from rnnlab.schema import Setting, settings

# Together they bring every schema once.
CHOICES = [
    ("train", ["task=sentiment", "optimizer=sgd", "scheduler=constant"]),
    ("train", ["task=next_word", "optimizer=adam", "scheduler=step"]),
    ("train", ["task=music", "optimizer=rmsprop", "scheduler=plateau"]),
    ("train", ["task=adding", "scheduler=cosine"]),
    ("train", ["task=copy"]),
    ("train", ["task=ball"]),
    ("evaluate", ["run=a"]),
    ("predict", ["run=a", "text=b"]),
    ("generate", ["run=a"]),
]
NAMES = [" ".join([command, *words]) for command, words in CHOICES]
# As typed; what the grammar makes of them; whether a number that is not whole may be so.
WRONG_TYPES = ["true", "false", "''", "abc", "'5'", "[1]", "{a:1}", "???", "null", "1,000", "0x10", "1e", "--1"]
NOT_WHOLE = ["1.5", "nan", "inf", "-inf", "1e308", "-0.5"]
OUT_OF_RANGE = {"nan": float, "inf": float, "-inf": float, "1e308": float, "0": None, "-1": None, str(2**63): None}


@pytest.fixture(scope="module")
def numbers() -> dict[str, tuple[Arguments, dict[str, Setting]]]:
    """Each choice's numeric settings by key."""
    found = {}
    for name, (command, words) in zip(NAMES, CHOICES, strict=True):
        arguments = read_arguments(command, words)
        present = settings_of(compose(arguments))
        found[name] = arguments, {key: one for key, one in present.items() if one.kind in (int, float)}
    return found


def test_no_numeric_setting_is_left_out(numbers):
    covered = {(key, one.kind, one.limits) for _, found in numbers.values() for key, one in found.items()}
    for group, kinds in SCHEMAS.items():
        for schema in kinds.values():
            for key, one in settings(schema, f"{group}.").items():
                assert one.kind not in (int, float) or (key, one.kind, one.limits) in covered, key
    assert len(covered) > 50


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_such_number_is_told_with_key_and_value(name: str, numbers):
    arguments, found = numbers[name]
    menu = read_menu(arguments.command)
    for typed in [*WRONG_TYPES, *NOT_WHOLE]:
        keys = [key for key, one in found.items() if typed not in NOT_WHOLE or one.kind is int]
        keys = [key for key in keys if typed != "null" or not found[key].optional]
        parsed, told = parse([f"{key}={typed}" for key in keys], menu, sweep=False)
        told += value_problems(parsed, found, menu)
        for key in keys:
            mine = [line for line in told if line.startswith((f"{key} ", f"{key}: "))]
            assert len(mine) == 1, (key, typed, told)
            assert "got " in mine[0] or "cannot read" in mine[0], mine
            assert "\n" not in mine[0]


@pytest.mark.parametrize("typed", OUT_OF_RANGE)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_out_of_range_is_told_with_key_value_and_range(name: str, typed: str, numbers):
    arguments, found = numbers[name]
    kind = OUT_OF_RANGE[typed]
    keys = [key for key, one in found.items() if kind in (None, one.kind)]
    value = float(typed) if kind else int(typed)
    wrong = {key for key in keys if found[key].problem(float(value) if found[key].kind is float else value)}
    line = read_arguments(arguments.command, [*arguments.typed, *(f"{key}={typed}" for key in keys)])
    try:
        compose_request(line)
        told = []
    except ConfigError as error:
        told = [one.strip() for one in str(error).splitlines()]
    ranges = [one for one in told if " must be " in one and ", got " in one]
    assert {one.partition(" ")[0] for one in ranges} >= wrong
    for key in wrong:
        mine = [one for one in ranges if one.startswith(f"{key} must be ")]
        assert mine, (key, told)  # scheduler.warmup_steps may contradict trainer.max_steps as well
        assert any(word in mine[0] for word in ("at least", "above", "at most", "below", "a finite number")), mine
    if typed not in ("0", "-1"):
        assert wrong == set(keys)  # no number may be endless
