"""Tasks: corpus + model + loss + scores. The trainer knows them through `rnnlab.tasks.base` alone."""

from __future__ import annotations

from rnnlab.config import (
    SCHEMAS,
    AddingConfig,
    BallConfig,
    CopyConfig,
    MusicConfig,
    NextWordConfig,
    SentimentConfig,
    TaskConfig,
    TrainerConfig,
)
from rnnlab.errors import ConfigError
from rnnlab.plugins import task_plugin
from rnnlab.tasks.base import Task


def build_task(config: TaskConfig, trainer: TrainerConfig, seed: int) -> Task:
    """Build the task of this name, ours or that of an installed package; its corpus is not read yet.

    Raises:
        ConfigError: what a package brings under this name is no task.
        ValueError: a task that nobody knows.
    """
    # By the class itself: the settings of a package's task may well be a kind of ours.
    if type(config) not in SCHEMAS["task"].values():
        return _build_plugin(config, trainer, seed)
    match config:
        case NextWordConfig():
            from rnnlab.tasks.next_word import NextWord

            return NextWord(config, trainer, seed)
        case SentimentConfig():
            from rnnlab.tasks.sentiment import Sentiment

            return Sentiment(config, trainer, seed)
        case MusicConfig():
            from rnnlab.tasks.music import Music

            return Music(config, trainer, seed)
        case AddingConfig():
            from rnnlab.tasks.adding import Adding

            return Adding(config, trainer, seed)
        case CopyConfig():
            from rnnlab.tasks.copying import Copy

            return Copy(config, trainer, seed)
        case BallConfig():
            from rnnlab.tasks.ball import Ball

            return Ball(config, trainer, seed)
        case _:
            raise AssertionError(f"{config.name} is in SCHEMAS and nobody builds it")


def _build_plugin(config: TaskConfig, trainer: TrainerConfig, seed: int) -> Task:
    """Let the package that brings a task build it."""
    plugin = task_plugin(config.name)
    if plugin is None or not isinstance(config, plugin.settings):
        raise ValueError(f"task must be {', '.join(SCHEMAS['task'])} or one of a package, got {config.name!r}")
    task = plugin.build(config, trainer, seed)
    if not isinstance(task, Task):
        raise ConfigError(f"task={config.name} builds a {type(task).__name__}, wanted a rnnlab.tasks.Task")
    return task


__all__ = ["Task", "build_task"]
