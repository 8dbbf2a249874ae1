"""What one command can choose and set: groups, choices, defaults, and which choice brings which setting. No Hydra."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rnnlab.commandline.choices import Choice, choices, configs_folder, groups
from rnnlab.config import COMMANDS, SCHEMAS
from rnnlab.schema import Setting, settings

_DEFAULT = re.compile(r"^\s*- (\w+): (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Menu:
    """What there is to choose and set.

    Attributes:
        command: The verb.
        groups: group -> choice -> file, the user's own after ours.
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


def read_menu(command: str, config_dir: Path | None = None) -> Menu:
    """List what a command can choose and set.

    Args:
        command: The verb.
        config_dir: The user's own configs.
    """
    shipped = configs_folder()
    folders = [shipped, *([config_dir] if config_dir else [])]
    found = {name: choices(name, *folders) for name in (groups(*folders) if command == "train" else [])}
    text = (shipped / f"{command}.yaml").read_text(encoding="utf-8")
    defaults = {group: choice for group, choice in _DEFAULT.findall(text) if group in found}
    variants: dict[str, list[tuple[Setting, list[str]]]] = {}
    for section, setting in settings(COMMANDS[command]).items():
        if not setting.is_section:
            variants[section] = [(setting, [])]
        for choice in found.get(section, {}).values():
            schema = SCHEMAS.get(section, {}).get(choice.schema or "", setting.kind)
            for key, inner in settings(schema, f"{section}.").items():
                if inner.doc:
                    _add(variants.setdefault(key, []), inner, choice.name)
    for key, forms in variants.items():
        if "." in key and len(forms) == 1 and len(forms[0][1]) == len(found[key.partition(".")[0]]):
            variants[key] = [(forms[0][0], [])]
    return Menu(command, found, defaults, variants)


def _add(forms: list[tuple[Setting, list[str]]], setting: Setting, choice: str) -> None:
    """Note that a choice brings a setting, beside the others that bring the same."""
    for other, names in forms:
        if other == setting:
            names.append(choice)
            return
    forms.append((setting, [choice]))
