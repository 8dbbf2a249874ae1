"""Tasks: corpus + model + loss + scores. The trainer knows them through `rnnlab.tasks.base` alone."""

from __future__ import annotations

from rnnlab.config import MusicConfig, NextWordConfig, SentimentConfig, TaskConfig, TrainerConfig
from rnnlab.tasks.base import Task


def build_task(config: TaskConfig, trainer: TrainerConfig, seed: int) -> Task:
    """Build the task of this name; its corpus is not read yet.

    Raises:
        ValueError: a task that rnnlab does not know.
    """
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
        case _:
            raise ValueError(f"task must be next_word, sentiment or music, got {config.name!r}")


__all__ = ["Task", "build_task"]
