import pytest

from rnnlab.config import TaskConfig, TrainerConfig
from rnnlab.tasks import build_task
from rnnlab.tasks.music import Music
from rnnlab.tasks.next_word import NextWord
from rnnlab.tasks.sentiment import Sentiment

KINDS = {"next_word": NextWord, "sentiment": Sentiment, "music": Music}


def test_a_task_is_built_by_its_name_and_reads_nothing_yet(tasks, name):
    task = tasks.new(name, corpus="/no/such/file")
    assert type(task) is KINDS[name]
    assert task.name == name
    assert task.corpus == {}


def test_an_unknown_task_is_refused():
    with pytest.raises(
        ValueError,
        match="task must be next_word, sentiment, music, adding, copy, ball or one of a package, got 'translation'",
    ):
        build_task(TaskConfig(name="translation"), TrainerConfig(), 0)
