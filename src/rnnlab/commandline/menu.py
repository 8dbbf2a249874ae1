"""What one command can choose and set: groups, choices, defaults, and which choice brings which setting. No Hydra."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rnnlab.commandline.choices import Choice, choices, configs_folder, groups
from rnnlab.config import COMMANDS, SCHEMAS
from rnnlab.errors import ConfigError
from rnnlab.plugins import task_names, task_plugin
from rnnlab.schema import Setting, settings

_DEFAULT = re.compile(r"^\s*- (\w+): (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Menu:
    """What there is to choose and set.

    Attributes:
        command: The verb.
        groups: group -> choice -> file, the user's own after ours, those of installed packages last.
        defaults: group -> choice when nothing is said; "null" for none.
        variants: Dotted key -> each form of the setting with the choices that bring it: task.max_len means one thing
            for tunes, another for reviews. No choices are named where all of a group's bring the same.
    """

    command: str
    groups: dict[str, dict[str, Choice]]
    defaults: dict[str, str]
    variants: dict[str, list[tuple[Setting, list[str]]]]

    @property
    def known(self) -> list[str]:
        """Every dotted key that some choice brings."""
        return list(self.variants)

    def bringers(self, key: str) -> list[str]:
        """Return the choices that bring a key; empty if it is always there, or unknown."""
        return [name for _, names in self.variants.get(key, []) for name in names]


def read_menu(command: str, config_dir: Path | None = None, *, plugins: bool = False) -> Menu:
    """List what a command can choose and set.

    Args:
        command: The verb.
        config_dir: The user's own configs.
        plugins: Whether installed packages are looked through for tasks too.
    """
    shipped = configs_folder()
    folders = [shipped, *([config_dir] if config_dir else [])]
    found = {name: choices(name, *folders) for name in (groups(*folders) if command == "train" else [])}
    text = (shipped / f"{command}.yaml").read_text(encoding="utf-8")
    defaults = {group: choice for group, choice in _DEFAULT.findall(text) if group in found}
    brought = _add_plugins(found["task"]) if plugins and command == "train" else {}
    variants: dict[str, list[tuple[Setting, list[str]]]] = {}
    for section, setting in settings(COMMANDS[command]).items():
        if not setting.is_section:
            variants[section] = [(setting, [])]
        for choice in found.get(section, {}).values():
            schema = SCHEMAS.get(section, {}).get(choice.schema or "", setting.kind)
            schema = brought.get(choice.name, schema) if section == "task" else schema
            for key, inner in settings(schema, f"{section}.").items():
                if inner.doc:
                    _add(variants.setdefault(key, []), inner, choice.name)
    for key, forms in variants.items():
        if "." in key and len(forms) == 1 and len(forms[0][1]) == len(found[key.partition(".")[0]]):
            variants[key] = [(forms[0][0], [])]
    return Menu(command, found, defaults, variants)


def _add_plugins(tasks: dict[str, Choice]) -> dict[str, type]:
    """Add the tasks of installed packages to ours and the user's.

    One that cannot be used is listed with the reason: it must not end the help of all others.

    Returns:
        Their schemas by name.
    """
    schemas: dict[str, type] = {}
    for name in task_names():
        if name not in tasks:
            try:
                plugin = task_plugin(name)
            except ConfigError as error:
                tasks[name] = Choice(name, None, f"Cannot be used: {error}", None)
            else:
                assert plugin is not None
                tasks[name] = Choice(name, None, plugin.about, None)
                schemas[name] = plugin.settings
    return schemas


def _add(forms: list[tuple[Setting, list[str]]], setting: Setting, choice: str) -> None:
    """Note that a choice brings a setting, beside the others that bring the same."""
    for other, names in forms:
        if other == setting:
            names.append(choice)
            return
    forms.append((setting, [choice]))
