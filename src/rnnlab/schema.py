"""The settings as data: key, type, default, limits and doc of each field of the dataclasses in `rnnlab.config`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from annotated_types import DocInfo, Ge, Gt, Le, Lt, MaxLen, MinLen

from rnnlab.config import SCHEMAS, ModelConfig, Names, TrainConfig, TrainerConfig
from rnnlab.plugins import task_plugin
from rnnlab.wording import listed

REQUIRED = "???"  # OmegaConf's mark for a value that must be given


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        key: Dotted, as typed: `model.hidden_size`.
        kind: int, float, bool, str, list (of whole numbers), an Enum, or a dataclass for a section.
        optional: Whether null is allowed.
        default: The schema's default; REQUIRED where there is none.
        doc: One line for the user; "" for what the choice of a group sets (`task.name`).
        limits: Constraints of annotated_types, and names.
    """

    key: str
    kind: type
    optional: bool
    default: Any
    doc: str
    limits: tuple[Any, ...]

    @property
    def is_section(self) -> bool:
        """Whether settings lie below it."""
        return is_dataclass(self.kind)

    @property
    def choices(self) -> list[str]:
        """The values of an Enum, else an empty list."""
        return [member.value for member in self.kind] if issubclass(self.kind, Enum) else []

    @property
    def names(self) -> list[str]:
        """The names that a text may be, beside other texts; else an empty list."""
        return [name for limit in self.limits if isinstance(limit, Names) for name in limit.names]

    @property
    def wanted(self) -> str:
        """What a value must be, for messages: 'a whole number'."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list [1,2]"}
        return kinds.get(self.kind, "a section") + (" or null" if self.optional else "")

    @property
    def range(self) -> str:
        """The limits in short, for help: '>=1, <=64'; limits that are only a guard against slips are left out."""
        signs = {Ge: (">=", "ge"), Gt: (">", "gt"), Le: ("<=", "le"), Lt: ("<", "lt")}
        shown = []
        for limit in self.limits:
            if type(limit) in signs:
                sign, attribute = signs[type(limit)]
                bound = getattr(limit, attribute)
                if abs(bound) < 1e6:
                    shown.append(f"{sign}{bound}")
        return ", ".join(shown)

    def holds(self, value: Any) -> bool:
        """Whether plain data is of the setting's type."""
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float if self.kind is float else self.kind)

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value of the right type, or None: 'must be at least 1, got 0'."""
        if value is None:
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return f"must be a finite number, got {value}"
        for limit in self.limits:
            wanted = _broken(limit, value)
            if wanted:
                return f"must be {wanted}, got {shown(value)}"
        return None


@cache
def settings(schema: type, prefix: str = "") -> dict[str, Setting]:
    """Return the fields of a dataclass as settings, by dotted key; sections are entries of their own."""
    hints = get_type_hints(schema, include_extras=True)
    found: dict[str, Setting] = {}
    for field in fields(schema):
        kind, optional, extras = _unwrap(hints[field.name])
        default = field.default
        if default is NO_DEFAULT:
            factory = field.default_factory
            default = REQUIRED if factory is NO_DEFAULT else factory()
        doc = next((extra.documentation for extra in extras if isinstance(extra, DocInfo)), "")
        limits = tuple(extra for extra in extras if not isinstance(extra, DocInfo))
        key = prefix + field.name
        found[key] = Setting(key, kind, optional, default, doc, limits)
    return found


@cache
def _train_forms() -> dict[str, list[Setting]]:
    """Every setting of a training run by dotted key, in each form that some choice of ours brings."""
    found: dict[str, list[Setting]] = {}
    schemas = [(TrainConfig, ""), (TrainerConfig, "trainer.")]
    schemas += [(schema, f"{group}.") for group, kinds in SCHEMAS.items() for schema in kinds.values()]
    for schema, prefix in schemas:
        for key, setting in settings(schema, prefix).items():
            if not setting.is_section:
                found.setdefault(key, []).append(setting)
    return found


def forms(key: str) -> list[Setting]:
    """Return what a dotted key of a training run may mean; empty for sections and for what only others bring."""
    return _train_forms().get(key, [])


def misfit(key: str, value: Any) -> str | None:
    """Say why plain data, as run.json keeps it, is no value of a training run's setting; None if it is one.

    A key that no choice of ours brings may hold anything.
    """
    known = forms(key)
    if value is None or not known:
        return None
    found = [
        form.problem(value) if form.holds(value) else f"must be {form.wanted}, got {shown(value)}" for form in known
    ]
    return None if None in found else found[0]


def walk(instance: Any, prefix: str = "") -> Iterator[tuple[Setting, Any]]:
    """Yield (setting, value) of every leaf of a settings object, sections by the class they really have."""
    for setting in settings(type(instance), prefix).values():
        value = getattr(instance, setting.key[len(prefix) :])
        if is_dataclass(value):
            yield from walk(value, setting.key + ".")
        else:
            yield setting, value


def plain(value: Any) -> Any:
    """Return settings as JSON-able data: dataclasses as dicts, Enums as strings."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return value.value if isinstance(value, Enum) else value


def shown(value: Any) -> str:
    """Return a value as the command line writes it, cut to a readable length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value.value if isinstance(value, Enum) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def describe_choices(words: list[str]) -> str:
    """Return 'choose one of a, b, c', or the only one there is."""
    return f"choose one of {', '.join(words)}" if len(words) != 1 else f"the only one is {listed(words)}"


def _unwrap(hint: Any) -> tuple[type, bool, tuple[Any, ...]]:
    """Take Annotated[int | None, Ge(1), doc(...)] apart: (int, True, (Ge(1), doc(...)))."""
    extras: tuple[Any, ...] = getattr(hint, "__metadata__", ())
    if extras:
        inner, optional, more = _unwrap(get_args(hint)[0])
        return inner, optional, (*more, *extras)
    arguments = get_args(hint)
    if NoneType in arguments:
        kept = next(argument for argument in arguments if argument is not NoneType)
        inner, _, more = _unwrap(kept)
        return inner, True, more
    return get_origin(hint) or hint, False, ()  # list[int] is a list


def _broken(limit: Any, value: Any) -> str | None:
    """Return what a limit wants if the value breaks it."""
    match limit:
        case Ge(ge=bound) if value < bound:
            return f"at least {bound}"
        case Gt(gt=bound) if value <= bound:
            return f"above {bound}"
        case Le(le=bound) if value > bound:
            return f"at most {bound}"
        case Lt(lt=bound) if value >= bound:
            return f"below {bound}"
        case MinLen(min_length=bound) if len(value) < bound:
            return f"at least {bound} character{'s' if bound > 1 else ''} long"
        case MaxLen(max_length=bound) if len(value) > bound:
            return f"at most {bound} characters long"
    return None


def train_settings(content: dict[str, Any]) -> TrainConfig:
    """Turn plain data, as run.json keeps it, back into settings.

    The data is read as data: nothing is interpolated or looked up.

    Raises:
        ValueError: a section, key or value that the schema does not have.
    """
    from omegaconf import OmegaConf  # 0.2 s, which help and tab completion do without
    from omegaconf.errors import OmegaConfBaseException

    optimizer = str(content["optimizer"]["name"])
    chosen = {
        "task": _task_schema(str(content["task"]["name"])),
        "model": ModelConfig,
        "optimizer": SCHEMAS["optimizer"].get("adam" if optimizer == "adamw" else optimizer),
        "scheduler": SCHEMAS["scheduler"].get(str(content["scheduler"]["name"])),
        "trainer": TrainerConfig,
    }
    if unknown := [section for section, schema in chosen.items() if schema is None]:
        name = content[unknown[0]]["name"]
        raise ValueError(f"{unknown[0]} {name!r} is unknown to this rnnlab and to the packages installed")
    try:
        config = OmegaConf.structured(TrainConfig)
        for section, schema in chosen.items():
            config[section] = OmegaConf.structured(schema)
        settings = OmegaConf.to_object(OmegaConf.merge(config, _escaped(content)))
    except OmegaConfBaseException as error:
        raise ValueError(" ".join(str(error).split())) from error
    except OverflowError:
        raise ValueError("a whole number in it is larger than any number with a fraction") from None
    assert isinstance(settings, TrainConfig)
    return settings


def _task_schema(name: str) -> type | None:
    """Return the schema of a task, ours or that of an installed package; None if nobody brings it."""
    plugin = None if name in SCHEMAS["task"] else task_plugin(name)
    return SCHEMAS["task"].get(name) if plugin is None else plugin.settings


def _escaped(content: Any) -> Any:
    """Keep "${...}" in a stored text from being looked up."""
    if isinstance(content, dict):
        return {key: _escaped(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_escaped(value) for value in content]
    if isinstance(content, str):
        return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", content)
    return content
