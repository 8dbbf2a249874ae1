"""What a configuration may not do: run code, read the environment, swell in memory.

rnnlab's own YAML is trusted; the files of `--config-dir` are somebody's, perhaps downloaded with a model. Hydra reads
them through `hydra_app.CheckedFiles`, which asks `check_file` first; a composed tree goes through `check_tree` before
anything of Hydra runs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from rnnlab.commandline.overrides import type_problem
from rnnlab.errors import ConfigError
from rnnlab.schema import forms

MAX_BYTES = 100_000
MAX_NODES = 10_000
MAX_DEPTH = 50
MAX_INSERTIONS = 8  # ${...} in one value: each can hold as many again, so that a few lines fill the memory

_INSERTION = re.compile(r"\$\{\.*\w+(?:\.\w+|\[\w+\])*\}")
_OURS_IN_HYDRA = re.compile(r"\$\{(?:now|hydra):[^{}$]*\}")
_CODE_KEYS = {"_target_", "_args_", "_partial_", "()"}
# Named by a configuration, never called: rnnlab launches and searches itself.
_PLUGINS = {
    "hydra.launcher._target_": {
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
    },
    "hydra.sweeper._target_": {"hydra._internal.core_plugins.basic_sweeper.BasicSweeper"},
}
# Lines and options of a cluster's shell script: the user's to type, not a file's to bring.
_SHELL_KEYS = ("hydra.launcher.setup", "hydra.launcher.additional_parameters")
_HANDLERS = {"logging.StreamHandler"}
_STREAMS = {"ext://sys.stdout", "ext://sys.stderr"}
_SWEEP = ("launcher", "sweeper")  # what of Hydra's own settings a file may set
_NOT_RESOLVED = ("hydra.help.", "hydra.hydra_help.", "hydra.overrides.", "hydra.job.override_dirname")  # texts alone
_FIXED = {
    "run.dir": ".",
    "output_subdir": None,
    "searchpath": [],
    "callbacks": {},
    "job.chdir": False,
    "job.env_set": {},
    "job.env_copy": [],
}
# Plain scalars that YAML 1.1 reads as something else than what they look like.
_SWITCH = re.compile(r"(?i:yes|no|on|off)")
_ODD_NUMBER = re.compile(r"[-+]?(?:0[0-9_]+|0[xb][0-9a-fA-F_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")


def check_file(path: Path, group: str) -> None:
    """Look at one of the user's config files before Hydra loads it.

    Args:
        path: The file.
        group: The config group that it stands in: `experiment`, `hydra/launcher`.

    Raises:
        ConfigError: YAML that cannot be read, is too large, repeats itself by aliases, says something else than it
            seems to, has a value of a wrong type, sets what belongs to Hydra, or names code to run.
    """
    if group.startswith("hydra") and group not in ("hydra/launcher", "hydra/sweeper"):
        raise ConfigError(f"{path}: of Hydra's own groups only hydra/launcher and hydra/sweeper can have files")
    text = _text_of(path)
    _check_events(path, text)
    try:
        # OmegaConf's loader, as Hydra's: a safe one that refuses a key that is there twice.
        data = get_yaml_loader()(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(_yaml_problem(path, error)) from None
    package = _package_of(text, group)
    _check_package(path, package, inside=group.startswith("hydra"))
    if isinstance(data, dict):
        _check_defaults(path, data.get("defaults"))
        _check_keys(path, {key: value for key, value in data.items() if key != "defaults"}, package)


def check_tree(config: DictConfig) -> None:
    """Look through a composed configuration, Hydra's part included, for anything that runs code.

    Raises:
        ConfigError: `_target_` but of the launchers and sweepers that are known, a resolver such as `oc.env`, a
            callback, a log handler other than a stream, another folder for Hydra's own files, or a line break in what a
            cluster's script is made of.
    """
    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    for key, value in _leaves(tree):
        inside_hydra = key.startswith("hydra.")
        last = key.rpartition(".")[2]
        if last in _CODE_KEYS:
            if str(value) not in _PLUGINS.get(key, ()):
                raise ConfigError(f"{key}: {last} is refused; a configuration names choices, it never runs code")
        elif isinstance(value, str) and not key.startswith(_NOT_RESOLVED):
            if wrong := _insertion_problem(_OURS_IN_HYDRA.sub("", value) if inside_hydra else value):
                raise ConfigError(f"{key}: {wrong}")
        if key.startswith("hydra.launcher.") and not str(value).isprintable():
            raise ConfigError(f"{key} must be one printable line, got {value!r}")
        if key.startswith(("hydra.job_logging.", "hydra.hydra_logging.")):
            wrong_stream = isinstance(value, str) and "ext://" in value and value not in _STREAMS
            if wrong_stream or (last in ("class", "factory") and value not in _HANDLERS):
                raise ConfigError(f"{key}: rnnlab's logging cannot be configured, got {value!r}")
    for key, wanted in _FIXED.items():
        value: Any = tree.get("hydra")
        for part in key.split("."):
            value = value.get(part, wanted) if isinstance(value, dict) else wanted
        if (value or None) != (wanted or None):
            raise ConfigError(f"hydra.{key} cannot be set: a configuration never runs code or moves files")


def _text_of(path: Path) -> str:
    """Read a config file, if it is a regular one of a size that config files have."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path} is a folder, a pipe or a device, wanted a YAML file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ConfigError(f"{path}: {size:,} bytes; a config file has at most {MAX_BYTES:,}")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid YAML: byte {error.start} is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _check_events(path: Path, text: str) -> None:
    """Refuse YAML that grows, or that says something else than it seems to: before anything is built."""
    nodes = depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            place = f"{path}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise ConfigError(f"{place}: aliases (*{event.anchor}) are refused; write the value")
            if getattr(event, "tag", None) is not None:
                raise ConfigError(f"{place}: tags ({event.tag}) are refused; write the value")
            if isinstance(event, yaml.ScalarEvent) and event.style is None:
                if _SWITCH.fullmatch(event.value):
                    raise ConfigError(f"{place}: write true or false, or put it in quotes, got {event.value}")
                if _ODD_NUMBER.fullmatch(event.value):
                    raise ConfigError(f"{place}: write a decimal number, or put it in quotes, got {event.value}")
            nodes += isinstance(event, yaml.NodeEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if nodes > MAX_NODES or depth > MAX_DEPTH:
                raise ConfigError(f"{place}: more than {MAX_NODES:,} values or {MAX_DEPTH} levels")
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_problem(path, error)) from None


def _package_of(text: str, group: str) -> str:
    """Return where Hydra puts a file's content: what its `# @package` says, else its group."""
    for line in text.split("\n"):
        if line.strip() and not re.match(r"\s*#\s*@", line):
            break
        if header := re.match(r"\s*#\s*@package\s+(\S+)\s*$", line):
            named = header[1].replace("_group_", group.replace("/", "."))
            return named.rpartition("_global_")[2].lstrip(".")
    return group.replace("/", ".")


def _check_package(path: Path, package: str, *, inside: bool) -> None:
    """Refuse a place among Hydra's own settings."""
    first, _, rest = package.rpartition("_global_")[2].lstrip(".").partition(".")
    if first == "hydra" and not (inside and rest.partition(".")[0] in _SWEEP):
        raise ConfigError(f"{path}: the package {package} is refused; Hydra's own settings cannot be replaced")


def _check_defaults(path: Path, defaults: Any) -> None:
    """Refuse a defaults list that reaches into Hydra's settings, or whose choices depend on settings."""
    for entry in defaults if isinstance(defaults, list) else []:
        for group, names in entry.items() if isinstance(entry, dict) else [(str(entry), None)]:
            words = f"{group} {names}"
            if "${" in words:
                raise ConfigError(f"{path}: defaults: name the choice, got {words!r}")
            chosen, _, package = str(group).split(" ")[-1].partition("@")
            chosen = chosen.lstrip("/")
            _check_package(path, package, inside=chosen.startswith(("hydra/launcher", "hydra/sweeper")))
            if (chosen == "hydra" or chosen.startswith("hydra/")) and not chosen.startswith(
                ("hydra/launcher", "hydra/sweeper", "hydra/rnnlab/")
            ):
                raise ConfigError(f"{path}: defaults: {chosen} cannot be chosen; only hydra/launcher and hydra/sweeper")


def _check_keys(path: Path, data: Any, package: str) -> None:
    """Refuse keys that name code, Hydra's settings but for what a sweep needs, and values of a wrong type."""
    for inner, value in _leaves(data):
        key = f"{package}.{inner}".strip(".")
        first, _, rest = key.partition(".")
        if key.rpartition(".")[2] in _CODE_KEYS:
            raise ConfigError(f"{path}: {key} is refused; a configuration names choices, it never runs code")
        if first == "hydra" and rest.partition(".")[0] not in _SWEEP:
            raise ConfigError(f"{path}: {key} cannot be set; of Hydra's settings only {' and '.join(_SWEEP)} can")
        if key.startswith(_SHELL_KEYS):
            raise ConfigError(f"{path}: {key} goes into a shell script; give it on the command line")
        if isinstance(value, str) and (wrong := _insertion_problem(value)):
            raise ConfigError(f"{path}: {key}: {wrong}")
        found = [type_problem(setting, value) for setting in forms(key)]
        if found and all(found):
            raise ConfigError(f"{path}: {key} {found[0]}")


def _insertion_problem(value: str) -> str | None:
    """Return what is wrong with the ${...} of a value, or None.

    What is left of it without plain insertions decides: a resolver's name can itself be put together.
    """
    if "${" not in value:
        return None
    rest, count = _INSERTION.subn("", value)
    if "${" in rest:
        return f"only ${{other.key}} may be inserted, got {value[:200]!r}"
    return f"at most {MAX_INSERTIONS} ${{...}} may stand in one value, got {count}" if count > MAX_INSERTIONS else None


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of all values that hold no others; empty containers too."""
    if isinstance(tree, dict | list) and tree:
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def _yaml_problem(path: Path, error: Exception) -> str:
    """Word a YAML error in one line with its place."""
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}" if mark else ""
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{path}{place}: not valid YAML: {what}"
