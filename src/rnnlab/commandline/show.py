"""`--cfg`, `--info` and `--hydra-help`: show the settings in force, or let Hydra show what it knows."""

from __future__ import annotations

from typing import Any

import yaml
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf, open_dict

from rnnlab.commandline.compose import COMPOSING, Arguments, compose, settings_of
from rnnlab.commandline.explain import explain
from rnnlab.commandline.hydra_app import run_hydra
from rnnlab.errors import ConfigError
from rnnlab.wording import did_you_mean


def show(arguments: Arguments) -> int:
    """Answer a command line with `--cfg`, `--info` or `--hydra-help`.

    Args:
        arguments: The command line.

    Returns:
        The exit code.

    Raises:
        ConfigError: Anything wrong with the settings.
    """
    if arguments.flags.cfg == "job":
        # The one people use; composing a second time, as Hydra would, takes as long again.
        print(settings_in_force(arguments), end="")
        return 0
    compose(arguments)
    return _hand_to_hydra(arguments)


def settings_in_force(arguments: Arguments) -> str:
    """Return a command's settings as YAML, as Hydra's `--cfg job` does.

    Raises:
        ConfigError: Anything wrong with them, or no such `--package`.
    """
    config = compose(arguments)
    present = settings_of(config)
    with open_dict(config):
        del config["hydra"]
    try:
        content: Any = OmegaConf.to_container(config, resolve=arguments.flags.resolve, enum_to_str=True)
    except COMPOSING as error:
        raise ConfigError(explain(error, present)) from error
    content |= arguments.free
    package = arguments.flags.package
    if package in (None, "_global_"):
        return _as_yaml(content)
    for part in package.split("."):
        if not isinstance(content, dict) or part not in content:
            raise ConfigError(f"--package: there is no {package}{did_you_mean(package, present)}")
        content = content[part]
    return f"# @package {package}\n{_as_yaml(content)}" if isinstance(content, dict) else f"{content}\n"


def _hand_to_hydra(arguments: Arguments) -> int:
    """Give Hydra the command line in a form that its own parser takes."""
    flags = arguments.flags
    argv = [f"--{name}={value}" for name in ("cfg", "info", "package") if (value := getattr(flags, name)) is not None]
    argv += [f"--{name.replace('_', '-')}" for name in ("resolve", "hydra_help") if getattr(flags, name)]
    argv += [f"--config-dir={arguments.config_dir}"] if arguments.config_dir else []
    quoted = [f"{key}={_quoted(value)}" for key, value in arguments.free.items()]
    settings = [] if flags.hydra_help else [*arguments.texts, *quoted]  # its help composes no command's settings
    return run_hydra(arguments.command, [*argv, *settings], lambda config: None)


def _as_yaml(content: Any) -> str:
    """Write settings as the YAML files do."""
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def _quoted(value: str) -> str:
    """Write a free text so that Hydra's grammar gives it back."""
    return QuotedString(value.replace("${", "\\${"), Quote.double).with_quotes()
