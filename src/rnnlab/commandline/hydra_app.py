"""Hydra set up for rnnlab: the schemas registered, the shipped and the user's configs on its search path."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import hydra
import hydra._internal.hydra as hydra_internals
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from rnnlab.commandline.choices import configs_folder
from rnnlab.commandline.guard import check_file, check_tree
from rnnlab.config import COMMANDS, SCHEMAS, ParallelConfig, SearchConfig, TrainerConfig
from rnnlab.errors import ConfigError
from rnnlab.plugins import task_names, task_plugin

VERSION_BASE = "1.3"
_USERS = "command-line"  # Hydra's name for the provider of --config-dir


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of YAML files, which looks at the user's before it loads them.

    It has the name of the class whose place it takes: Hydra registers its own again and leaves one of that name alone.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """Check and load one file.

        Raises:
            ConfigError: what `check_file` refuses.
        """
        if self.provider == _USERS:
            path = Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path))))
            check_file(path, os.path.dirname(os.path.normpath(config_path).lstrip("/")))
        return super().load_config(config_path)


class _Refused(BaseException):
    """Carries a ConfigError through Hydra, which would print an Exception with a traceback and exit."""


class _CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, which checks whatever it composes: a sweeper may choose what nobody has typed."""

    def load_configuration(self, config_name: str | None, overrides: list[str], *args: Any, **more: Any) -> DictConfig:
        """Compose and check, before Hydra takes loggers, callbacks and launchers from it."""
        try:
            config = super().load_configuration(config_name, overrides, *args, **more)
            if config_name is not None:  # else it is Hydra's own settings, for its help
                check_tree(config)
        except ConfigError as error:
            raise _Refused(error) from error
        return config


@cache
def register(command: str) -> None:
    """Put a command's schemas where its YAML files expect them: under hydra/, so that no help shows them as choices.

    Args:
        command: The verb.
    """
    Plugins.instance()  # registers Hydra's own reader first
    SourcesRegistry.instance().types["file"] = FileConfigSource
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
            search_path.prepend(provider=_USERS, path=f"file://{config_dir}", anchor=anchor)
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

    Raises:
        ConfigError: A configuration that Hydra composed on the way is refused.
    """
    register(command)
    kept, loader = sys.argv, hydra_internals.ConfigLoaderImpl  # pyright: ignore[reportPrivateImportUsage]
    sys.argv = [f"rnnlab {command}", *argv]
    hydra_internals.ConfigLoaderImpl = _CheckedLoader  # pyright: ignore[reportPrivateImportUsage]
    try:
        hydra.main(config_path=str(configs_folder()), config_name=command, version_base=VERSION_BASE)(task)()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except _Refused as refused:
        raise refused.args[0] from None
    else:
        return 0
    finally:
        sys.argv, hydra_internals.ConfigLoaderImpl = kept, loader  # pyright: ignore[reportPrivateImportUsage]
