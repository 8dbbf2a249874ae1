"""`key=value` as typed: its grammar, its key, its type, each mistake in one line that says what would be right.

Hydra finds these mistakes too, but in four lines that name its own insides; so they are looked for first, all at once.
"""

from __future__ import annotations

import json
import re
import shlex
import warnings
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import HydraException

from rnnlab.commandline.menu import Menu
from rnnlab.schema import REQUIRED, Setting, describe_choices, shown
from rnnlab.wording import close_matches, did_you_mean, listed, right_choice

# What of Hydra's own configuration a sweep may set; everything else could run code or move the results.
SWEEP_GROUPS = ("hydra/launcher", "hydra/sweeper")
SWEEP_KEYS = ("hydra.launcher.", "hydra.sweeper.")
_MAX_CHARACTERS = 10_000
_MAX_DEPTH = 20


def parse(texts: list[str], menu: Menu, *, sweep: bool) -> tuple[list[Override], list[str]]:
    """Parse overrides and look at all that needs no composed configuration.

    Args:
        texts: As typed, without free text.
        menu: What there is to choose.
        sweep: Whether lists of values and Hydra's launcher and sweeper may be set (`-m`).

    Returns:
        The overrides that are right so far, and the problems of the others.
    """
    parser = OverridesParser.create()
    parsed: list[Override] = []
    problems: list[str] = []
    for text in texts:
        wrong = _shape_problem(text, menu)
        if wrong is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the grammar's notes on ambiguity are for Hydra's authors
                    override = parser.parse_override(text)
            except (HydraException, ValueError) as error:
                wrong = _grammar_problem(text, error)
            else:
                wrong = _override_problem(override, menu, sweep=sweep)
                if wrong is None:
                    parsed.append(override)
        if wrong is not None:
            problems.append(wrong)
    return parsed, problems


def value_problems(parsed: list[Override], present: dict[str, Setting], menu: Menu) -> list[str]:
    """Hold keys and values against the settings that the chosen groups bring.

    Args:
        parsed: From `parse`.
        present: The composed configuration's settings by dotted key.
        menu: What there is to choose.

    Returns:
        One line for each unknown key and each value of a wrong type.
    """
    problems = []
    for override in parsed:
        key = override.key_or_group
        if is_group(override, menu) or override.is_hydra_override():
            continue
        setting = present.get(key)
        if setting is None:
            problems.append(unknown_key(key, present, menu))
        elif setting.is_section:
            inside = next((name for name in present if name.startswith(key + ".")), key)
            problems.append(f"{key} is a group of settings; set one of them, as in {inside}=...")
        elif not setting.doc:
            problems.append(f"{key} is set by the choice of {key.partition('.')[0]}; it cannot be set alone")
        else:
            found = (type_problem(setting, value) for value in values(override))
            problems += [f"{key} {wrong}" for wrong in found if wrong][:1]
    return problems


def unknown_key(key: str, present: dict[str, Setting], menu: Menu) -> str:
    """Say that a key is unknown, and what may have been meant."""
    bringers = menu.bringers(key)
    if bringers:
        have = "has" if len(bringers) == 1 else "have"
        return f"unknown setting {key}: only {key.partition('.')[0]}={listed(bringers)} {have} it"
    here = [other for other, setting in present.items() if setting.doc and not setting.is_section]
    groups = [] if "." in key else list(menu.groups)
    return f"unknown setting {key}" + did_you_mean(key, [*here, *groups, *menu.known])


def is_group(override: Override, menu: Menu) -> bool:
    """Whether an override chooses a file of a group (`model=lstm`)."""
    return override.key_or_group in menu.groups


def values(override: Override) -> Iterator[Any]:
    """Yield the value, or all values that a sweep lists."""
    value = override.value()
    if isinstance(value, RangeSweep):
        yield from override.sweep_iterator()
    elif isinstance(value, ChoiceSweep):
        for element in value.list:
            yield Override._convert_value(element)
    elif not isinstance(value, Sweep | Glob):
        yield value


def value_texts(override: Override) -> list[str]:
    """Return the value, or all values that a sweep lists, each as it would be typed; of an interval both ends."""
    if not override.is_sweep_override():
        return [(override.input_line or "").partition("=")[2]]
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    return list(override.sweep_string_iterator()) if override.is_discrete_sweep() else []


def type_problem(setting: Setting, value: Any) -> str | None:
    """Return what is wrong with a value's type, or None: 'must be a whole number, got 'abc''.

    Stricter than OmegaConf, which takes 2 for true and '5' for 5.
    """
    got = f"must be {setting.wanted}, got {shown(value)}"
    if isinstance(value, str) and "${" in value:
        return None  # what it stands for is checked once it is resolved
    if value == REQUIRED:
        return f"must be given, got {REQUIRED}"
    if value is None:
        return None if setting.optional else got
    if setting.kind is list:
        return None if isinstance(value, list) and all(type(entry) is int for entry in value) else got
    if isinstance(value, list | dict):
        return got
    if setting.choices:
        if value in setting.choices:
            return None
        return got + (right_choice(value, setting.choices) if isinstance(value, str) else "")
    if setting.kind is str:
        return None
    if setting.kind is bool:
        yes_no = isinstance(value, str) and value.lower() in ("yes", "no", "on", "off")
        return None if isinstance(value, bool) or yes_no else got
    if isinstance(value, bool) or not isinstance(value, int | float):
        return got
    if setting.kind is int and not isinstance(value, int):
        return got + (f"; write {int(value)}" if value == value // 1 and abs(value) < 1e15 else "")
    return None


def _shape_problem(text: str, menu: Menu) -> str | None:
    """Look at the text before the grammar does: a missing equal sign, + and ~."""
    if text.startswith("~"):
        return f"{text}: settings cannot be taken away; null switches many of them off"
    key, equals, value = text.partition("=")
    if not text.isprintable():
        return f"{key if key.isprintable() else repr(key)}: a value has no control characters, got {shown(value)}"
    if not equals:
        return _bare_word(text, menu)
    if len(text) > _MAX_CHARACTERS or _depth(value) > _MAX_DEPTH:
        return f"{key[:60]}: a value has at most {_MAX_CHARACTERS:,} characters and {_MAX_DEPTH} brackets in brackets"
    if "_target_" in text:
        return f"{key}: _target_ is refused; a configuration names choices, it never runs code"
    if text.startswith("+"):
        name = key.lstrip("+")
        if "." not in name and name in menu.groups:
            return f"{key}: write {name}={value}, without +" if name in menu.defaults else None
        known = name in menu.known
        hint = f"; write {name}={value}" if known else did_you_mean(name, [*menu.known, *menu.groups])
        return f"{key}: + cannot add a setting{hint}"
    if not key:
        return f"{text}: a setting's name is missing before ="
    return None


def _depth(value: str) -> int:
    """How deep brackets stand in brackets: Hydra's grammar takes seconds for a thousand."""
    depth = deepest = 0
    for character in value:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _bare_word(text: str, menu: Menu) -> str:
    """Say what a word without an equal sign may have meant."""
    fitting = [f"{group}={text}" for group, files in menu.groups.items() if text in files]
    if fitting:
        return f"{text}: a setting is key=value; did you mean {listed(fitting)}?"
    if text in menu.groups or text in menu.known:
        return f"{text}: its value is missing; write {text}=..."
    if menu.command != "train" and not close_matches(text, menu.known):
        return f"{text}: a setting is key=value; did you mean run={text}?"
    return f"{text}: a setting is key=value" + did_you_mean(text, [*menu.known, *menu.groups], "{}=...")


def _grammar_problem(text: str, error: Exception) -> str:
    """Say that Hydra's grammar cannot read a value; quoting it nearly always helps."""
    key, _, value = text.partition("=")
    if not re.fullmatch(r"[+~]*\w+([./@:]\w+)*", key):
        return f"{text}: {key} is no setting's name"
    reason = str(error).splitlines()[0].strip() if str(error) else type(error).__name__
    return f"{key}: cannot read {shown(value)} ({reason[:80]}); put it in quotes: {_quoted(key, value)}"


def _quoted(key: str, value: str) -> str:
    """Return an override as the shell and Hydra's grammar both take it."""
    return shlex.quote(f"{key}={json.dumps(value, ensure_ascii=False)}")


def _override_problem(override: Override, menu: Menu, *, sweep: bool) -> str | None:
    """Look at a parsed override: Hydra's own keys, lists of values, groups and their choices."""
    key, text = override.key_or_group, override.input_line or ""
    if override.is_hydra_override() or key == "hydra":
        allowed = sweep and (key in SWEEP_GROUPS or key.startswith(SWEEP_KEYS))
        if allowed:
            return None
        return (
            f"{key} cannot be set"
            + ("" if sweep else " outside a sweep (-m)")
            + "; of Hydra's own settings only "
            + "hydra/launcher, hydra/sweeper, hydra.launcher.* and hydra.sweeper.* can"
        )
    if override.package is not None:
        return f"{text}: @ is not used here; write {key}=..."
    if override.is_sweep_override() and not sweep:
        value = text.partition("=")[2]
        advice = "add -m" if menu.command == "train" else "give one value"
        if any(setting.kind is str for setting, _ in menu.variants.get(key, [])):
            advice += f"; or, if the comma belongs to it: {_quoted(key, value)}"
        return f"{key} takes one value, got {shown(value)}; lists of values sweep: {advice}"
    if isinstance(override.value(), Glob):
        listed_choices = ",".join(menu.groups.get(key, ["a", "b"]))
        return f"{key}: glob is not used here; list the choices: {key}={listed_choices}"
    if key in menu.groups:
        return _choice_problem(override, menu)
    if "/" in key:
        return f"unknown group {key}" + did_you_mean(key, list(menu.groups))
    return None


def _choice_problem(override: Override, menu: Menu) -> str | None:
    """Hold a group's choice against its files."""
    group = override.key_or_group
    names = list(menu.groups[group])
    for value in values(override):
        for name in value if isinstance(value, list) else [value]:
            if name is None and menu.defaults.get(group) == "null":
                return f"{group} is none unless it is given; leave {group}=null out"
            if isinstance(name, dict) or name is None:
                inside = next((key for key in menu.known if key.startswith(group + ".")), f"{group}.name")
                return f"{group} takes a choice ({', '.join(names)}), got {shown(name)}; single settings: {inside}=..."
            if str(name) not in menu.groups[group]:
                near = did_you_mean(str(name), names)
                return f"{group} has no choice {shown(name)}{near or ';'} {describe_choices(names)}"
    return None
