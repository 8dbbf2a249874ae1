"""What a configuration may not do: run code, read the environment, swell in memory.

rnnlab's own YAML is trusted; the files of `--config-dir` are somebody's, perhaps downloaded with a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_yaml_loader

from rnnlab.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 50

_RESOLVER = re.compile(r"\$\{[^{}]*:")
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


def check_files(config_dir: Path, chosen: list[tuple[str, str]]) -> None:
    """Look at the user's config files before Hydra loads them: those chosen, and those that they choose.

    Args:
        config_dir: The folder of `--config-dir`.
        chosen: (group, choice) pairs.

    Raises:
        ConfigError: YAML that cannot be read, is too large, repeats itself by aliases, or names code to run.
    """
    pending, seen = [config_dir / group / f"{choice}.yaml" for group, choice in chosen], set()
    while pending:
        path = pending.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        _check_events(path)
        try:
            # OmegaConf's loader, as Hydra's: it refuses a key that is there twice.
            data = yaml.load(path.read_text(encoding="utf-8"), Loader=get_yaml_loader())
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(_yaml_problem(path, error)) from None
        if isinstance(data, dict):
            _check_keys(path, data)
            pending += _chosen_by(data.get("defaults"), path.parent, config_dir)


def check_tree(config: DictConfig) -> None:
    """Look through a composed configuration, Hydra's part included, for anything that runs code.

    Raises:
        ConfigError: `_target_` but of the launchers and sweepers that are known, a resolver such as `oc.env`, a
            callback, a log handler other than a stream, or a line break in what a cluster's script is made of.
    """
    tree = OmegaConf.to_container(config, resolve=False)
    assert isinstance(tree, dict)
    hydra = tree.get("hydra") or {}
    for key, value in _leaves(tree):
        inside_hydra = key.startswith("hydra.")
        last = key.rpartition(".")[2]
        if last in _CODE_KEYS:
            if str(value) not in _PLUGINS.get(key, ()):
                raise ConfigError(f"{key}: {last} is refused; a configuration names choices, it never runs code")
        elif isinstance(value, str) and not inside_hydra and _RESOLVER.search(value):
            raise ConfigError(f"{key}: only ${{other.key}} may be inserted, got {value!r}")
        elif key.startswith("hydra.launcher.") and not str(value).isprintable():
            raise ConfigError(f"{key} must be one printable line, got {value!r}")
        elif key.startswith(("hydra.job_logging.", "hydra.hydra_logging.")):
            wrong_stream = isinstance(value, str) and "ext://" in value and value not in _STREAMS
            if wrong_stream or (last in ("class", "factory") and value not in _HANDLERS):
                raise ConfigError(f"{key}: rnnlab's logging cannot be configured, got {value!r}")
    if hydra.get("callbacks"):
        raise ConfigError("hydra.callbacks cannot be set: a configuration never runs code")
    job = hydra.get("job") or {}
    for key in ("env_set", "env_copy"):
        if job.get(key):
            raise ConfigError(f"hydra.job.{key} cannot be set: a configuration does not reach the environment")


def _check_events(path: Path) -> None:
    """Refuse YAML that grows: counted while parsing, before anything is built."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size:,} bytes; a config file has at most {MAX_BYTES:,}")
        nodes = depth = 0
        with path.open(encoding="utf-8") as stream:
            for event in yaml.parse(stream, Loader=yaml.SafeLoader):
                line = event.start_mark.line + 1
                if isinstance(event, yaml.AliasEvent):
                    raise ConfigError(f"{path}, line {line}: aliases (*{event.anchor}) are refused; write the value")
                nodes += isinstance(event, yaml.NodeEvent)
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if nodes > MAX_NODES or depth > MAX_DEPTH:
                    raise ConfigError(f"{path}, line {line}: more than {MAX_NODES:,} values or {MAX_DEPTH} levels")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(_yaml_problem(path, error)) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _check_keys(path: Path, data: Any) -> None:
    """Refuse keys that name code, and all of Hydra's configuration but what a sweep needs."""
    for key, value in _leaves(data):
        first, _, rest = key.partition(".")
        if key.rpartition(".")[2] in _CODE_KEYS:
            raise ConfigError(f"{path}: {key} is refused; a configuration names choices, it never runs code")
        if first == "hydra" and rest.partition(".")[0] not in ("launcher", "sweeper"):
            raise ConfigError(f"{path}: {key} cannot be set; of Hydra's settings only launcher and sweeper can")
        if key.startswith(_SHELL_KEYS):
            raise ConfigError(f"{path}: {key} goes into a shell script; give it on the command line")
        if isinstance(value, str) and _RESOLVER.search(value):
            raise ConfigError(f"{path}: {key}: only ${{other.key}} may be inserted, got {value!r}")


def _chosen_by(defaults: Any, folder: Path, config_dir: Path) -> list[Path]:
    """List the user's files that a defaults list may stand for; what is not there is skipped later."""
    found = []
    for entry in defaults if isinstance(defaults, list) else []:
        pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
        for group, names in pairs:
            group = str(group).split(" ")[-1].partition("@")[0]
            for name in names if isinstance(names, list) else [names]:
                relative = f"{group}/{str(name).partition('@')[0]}.yaml".lstrip("/")
                found += [config_dir / relative, folder / relative]
    return found


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
