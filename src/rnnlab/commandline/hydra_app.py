"""Hydra set up for rnnlab: the schemas registered, the shipped and the user's configs on its search path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from rnnlab.commandline.choices import configs_folder
from rnnlab.config import COMMANDS, SCHEMAS, ParallelConfig, SearchConfig, TrainerConfig
from rnnlab.errors import ConfigError
from rnnlab.plugins import task_names, task_plugin

VERSION_BASE = "1.3"


@cache
def register(command: str) -> None:
    """Put a command's schemas where its YAML files expect them: under hydra/, so that no help shows them as choices.

    Args:
        command: The verb.
    """
    store = ConfigStore.instance()
    store.store(group="hydra/rnnlab", name=command, node=COMMANDS[command])
    if command != "train":
        return
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"hydra/rnnlab/{group}", name=name, node=schema)
    store.store(group="hydra/rnnlab", name="trainer", node=TrainerConfig)
    # Under the names that Hydra's users type. rnnlab does both itself: no plugin is asked for, or run.
    store.store(group="hydra/launcher", name="joblib", node=ParallelConfig)
    store.store(group="hydra/sweeper", name="optuna", node=SearchConfig)


def register_tasks() -> None:
    """Put the tasks of installed packages behind ours: what Hydra finds in configs/ it takes from there.

    One that cannot be used is left out.
    """
    store = ConfigStore.instance()
    for name in task_names():
        try:
            plugin = task_plugin(name)
        except ConfigError:
            continue
        assert plugin is not None
        content = {"defaults": [f"/hydra/rnnlab/task/{name}@task", "_self_"], **plugin.presets}
        store.store(group="hydra/rnnlab/task", name=name, node=plugin.settings)
        store.store(group="task", name=name, node=content, package="_global_")


@contextmanager
def initialized(command: str, config_dir: Path | None) -> Iterator[None]:
    """Set Hydra up with the shipped configs and, after them, the user's.

    Args:
        command: The verb.
        config_dir: The folder of `--config-dir`.
    """
    register(command)
    with initialize_config_dir(str(configs_folder()), job_name=command, version_base=VERSION_BASE):
        if config_dir is not None:
            loader = config_loader()
            search_path = loader.get_search_path()
            anchor = SearchPathQuery(provider="schema")
            search_path.prepend(provider="command-line", path=f"file://{config_dir}", anchor=anchor)
            loader.repository.initialize_sources(search_path)
        yield


def config_loader() -> Any:
    """Return the loader of the Hydra that `initialized` set up."""
    app = GlobalHydra.instance().hydra
    assert app is not None
    return app.config_loader


def run_hydra(command: str, argv: list[str], task: Callable[[DictConfig], Any]) -> int:
    """Run `hydra.main` of a command with another command line.

    Args:
        command: The verb.
        argv: Hydra's options and overrides.
        task: What Hydra calls with the configuration, once a job.

    Returns:
        Hydra's exit code.
    """
    register(command)
    kept = sys.argv
    sys.argv = [f"rnnlab {command}", *argv]
    try:
        hydra.main(config_path=str(configs_folder()), config_name=command, version_base=VERSION_BASE)(task)()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    else:
        return 0
    finally:
        sys.argv = kept
