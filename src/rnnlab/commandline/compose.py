"""From a command line to checked settings: Hydra composes, rnnlab checks and words the errors.

`rnnlab train model=lstm` becomes a `Request`. No torch.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rnnlab.commandline import overrides
from rnnlab.commandline.checks import problems
from rnnlab.commandline.explain import explain
from rnnlab.commandline.guard import check_tree
from rnnlab.commandline.hydra_app import initialized, register_tasks
from rnnlab.commandline.menu import Menu, read_menu
from rnnlab.commandline.options import one_line_errors
from rnnlab.config import COMMANDS, FREE_TEXT
from rnnlab.errors import ConfigError
from rnnlab.plugins import task_plugin
from rnnlab.schema import Setting, plain, settings
from rnnlab.wording import close_matches

MAX_JOBS = 1024  # side by side
# What Hydra and OmegaConf raise while they compose.
COMPOSING = (
    *(HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError, RecursionError, OSError),
    AttributeError,  # of OmegaConf, where a group of settings is merged into a null
)


@dataclass(frozen=True, slots=True)
class Request:
    """What one command was asked to do.

    Attributes:
        command: The verb, one of `COMMANDS`.
        settings: Its settings, checked: a `TrainConfig`, `EvaluateConfig`, ...
        config: The same as plain JSON-able data, Enums as strings.
        overrides: `key=value` as typed.
        choices: The chosen file of each group: {"model": "lstm", "task": "sentiment", ...}.
        config_dir: The folder of the user's own files among them, if any.
    """

    command: str
    settings: Any
    config: dict[str, Any]
    overrides: list[str]
    choices: dict[str, str]
    config_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Arguments:
    """A command line taken apart.

    Attributes:
        command: The verb.
        typed: Every `key=value`, as typed.
        texts: Those that go through Hydra's grammar.
        free: The free-text settings among them (`rnnlab.config.FREE_TEXT`), as they stand.
        flags: The rest: cfg, info, multirun, config_dir, ...
    """

    command: str
    typed: list[str]
    texts: list[str]
    free: dict[str, str]
    flags: argparse.Namespace

    @property
    def config_dir(self) -> Path | None:
        """The user's own configs."""
        return Path(self.flags.config_dir).absolute() if self.flags.config_dir else None


def read_arguments(command: str, argv: list[str]) -> Arguments:
    """Take a command line apart with Hydra's own parser.

    Raises:
        ConfigError: An unknown option, or one that rnnlab does not have.
    """

    def hint(option: str) -> str:
        near = close_matches(option.lstrip("-").replace("-", "_"), read_menu(command).known, 1)
        return f"; settings go without --: {near[0]}=..." if near else ""

    options = get_args_parser()
    if command == "train":
        options.add_argument("--jobs", type=int, help="how many jobs of a sweep run side by side")
    parser = one_line_errors(options, hint)
    flags = parser.parse_intermixed_args(argv)
    for name, why in {
        "experimental_rerun": "it loads a pickle, which can run any code; type the run's settings again",
        "config_path": "rnnlab's own configs stay; add yours with --config-dir",
        "config_name": f"the command is the name: rnnlab {command}",
    }.items():
        if getattr(flags, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is refused: {why}")
    if command == "train" and flags.jobs is not None:
        if not flags.multirun:
            raise ConfigError("--jobs is for a sweep: add -m and lists of values")
        if not 1 <= flags.jobs <= MAX_JOBS:
            raise ConfigError(f"--jobs must be 1 to {MAX_JOBS}, got {flags.jobs}")
    if flags.resolve and not flags.cfg:
        raise ConfigError("--resolve goes with --cfg")
    if flags.config_dir and not Path(flags.config_dir).is_dir():
        raise ConfigError(f"--config-dir: there is no folder {flags.config_dir}")
    free_keys = FREE_TEXT & settings(COMMANDS[command]).keys()
    free, texts = {}, []
    for text in flags.overrides:
        key, equals, value = text.partition("=")
        if equals and key in free_keys:
            free[key] = value
        else:
            texts.append(text)
    return Arguments(command, list(flags.overrides), texts, free, flags)


def compose_request(arguments: Arguments) -> Request:
    """Compose, check and convert the settings of one run.

    Args:
        arguments: The command line.

    Raises:
        ConfigError: Anything wrong with them; several mistakes are told at once, one line each.
    """
    job = compose(arguments)
    picked = job.hydra.runtime.choices.items()
    chosen = {str(group): str(name) for group, name in picked if "/" not in str(group) and name is not None}
    with open_dict(job):
        del job["hydra"]
    for key in arguments.free:
        job[key] = "given"  # put in below, as it stands: OmegaConf would read ${ and ??? in it
    try:
        missing = sorted(OmegaConf.missing_keys(job))
        result: Any = None if missing else OmegaConf.to_object(job)
    except COMPOSING as error:
        raise ConfigError(explain(error, settings_of(job))) from error
    if missing:
        raise ConfigError(_missing(arguments.command, missing))
    for key, value in arguments.free.items():
        setattr(result, key, _free_value(settings(type(result))[key], value))
    raise_together(problems(result))
    return Request(arguments.command, result, plain(result), arguments.typed, chosen, arguments.config_dir)


def compose(arguments: Arguments, *, sweep: bool = False) -> DictConfig:
    """Compose a configuration, Hydra's own node included.

    Args:
        arguments: The command line.
        sweep: Whether Hydra's launcher and sweeper may be set.

    Raises:
        ConfigError: Unknown keys or choices, wrong types, files that cannot be read or name code to run.
    """
    menu = menu_of(arguments)
    parsed, found = overrides.parse(arguments.texts, menu, sweep=sweep)
    chosen = [entry for entry in parsed if overrides.is_group(entry, menu)]
    try:
        config = _compose(arguments, [str(entry.input_line) for entry in parsed])
    except COMPOSING as error:
        # Something typed does not fit the schema, or a file does not: the groups alone tell which.
        try:
            config = _compose(arguments, [str(entry.input_line) for entry in chosen])
        except COMPOSING as file_error:
            raise_together(found)
            raise ConfigError(explain(file_error, menu.known)) from file_error
        present = settings_of(config)
        found += overrides.value_problems(parsed, present, menu)
        raise ConfigError(_joined(found) if found else explain(error, present)) from error
    raise_together(found + overrides.value_problems(parsed, settings_of(config), menu))
    check_tree(config)
    return config


def settings_of(config: DictConfig) -> dict[str, Setting]:
    """Return the settings of a composed configuration by dotted key, sections by the class they really have."""
    top = OmegaConf.get_type(config)
    found: dict[str, Setting] = {}
    for key, setting in settings(top).items() if isinstance(top, type) else ():
        found[key] = setting
        if setting.is_section and not OmegaConf.is_missing(config, key):
            section = OmegaConf.get_type(config, key)
            found |= settings(section if isinstance(section, type) else setting.kind, f"{key}.")
    return found


def raise_together(found: list[str]) -> None:
    """Raise all problems as one error, if there are any.

    Raises:
        ConfigError: One line for one problem, else a count and one line each.
    """
    if found:
        raise ConfigError(_joined(found))


def menu_of(arguments: Arguments) -> Menu:
    """List what there is to choose; installed packages are looked through only for a task that is not ours.

    Raises:
        ConfigError: A task that was asked for comes from a package and cannot be used.
    """
    menu = read_menu(arguments.command, arguments.config_dir)
    if arguments.command != "train":
        return menu
    asked = [text.partition("=")[2] for text in arguments.texts if text.startswith("task=")]
    others = [name for name in asked if name not in menu.groups["task"]]
    if others or arguments.config_dir is not None:
        register_tasks()
        for name in others:
            task_plugin(name)
        return read_menu(arguments.command, arguments.config_dir, plugins=True)
    return menu


def _compose(arguments: Arguments, texts: list[str]) -> DictConfig:
    """Compose with Hydra, exactly these overrides."""
    with initialized(arguments.command, arguments.config_dir):
        return hydra_compose(arguments.command, overrides=texts, return_hydra_config=True)


def _missing(command: str, keys: list[str]) -> str:
    """Say what must be given."""
    if "run" in keys:
        return f"{command} needs run=NAME; rnnlab runs lists them"
    return f"{command} needs {', '.join(f'{key}=...' for key in keys)}"


def _free_value(setting: Setting, value: str) -> str | None:
    """Take a free text as it stands; null means none for names of files and runs, not in a text or prompt."""
    return None if value == "null" and setting.optional and setting.key not in ("text", "prompt") else value


def _joined(found: list[str]) -> str:
    """Put several problems into one message."""
    found = list(dict.fromkeys(found))
    return (
        found[0]
        if len(found) == 1
        else "\n".join([f"{len(found)} settings are wrong:", *(f"  {one}" for one in found)])
    )
