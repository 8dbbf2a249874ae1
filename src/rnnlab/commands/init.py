"""`rnnlab init FOLDER`: a folder of the user's own configs, for a task on their own data, that works as it stands."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import suppress
from pathlib import Path
from shlex import quote

import yaml

from rnnlab.commandline.compose import compose_request, read_arguments
from rnnlab.commandline.menu import read_menu
from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._finished import build_model
from rnnlab.config import SCHEMAS, CorpusConfig
from rnnlab.disk import cannot_write
from rnnlab.errors import ConfigError, FolderInUseError
from rnnlab.schema import settings
from rnnlab.tasks import build_task
from rnnlab.training.console import log_to
from rnnlab.wording import did_you_mean

NAME = "mine"  # the experiment, and what `experiment=` takes

_EXPERIMENT = """\
# @package _global_
# {task} on {corpus}.
# rnnlab train --config-dir {folder} experiment=mine
#
# Everything here can be changed, and any other setting added: rnnlab train --help lists them all with their ranges.
# What is typed goes before what stands here: ... experiment=mine trainer.max_epochs=20
defaults:
  - override /task: {task}
  - override /model: mine       # model/mine.yaml, or one of {models}
  - override /optimizer: adam   # or one of {optimizers}
  - override /scheduler: cosine # or one of {schedulers}

task:
{data}
optimizer:
  lr: {lr}                   # the setting that matters most: try a third of it, and three times it

scheduler:
  warmup_steps: 0

trainer:
  batch_size: {batch_size}
  max_epochs: {max_epochs}               # passes over the training texts
  patience: 3                 # end when the score on held-out data was no better for three evaluations
"""
_MODEL = """\
# The model of experiment/mine.yaml; it can be chosen by itself too: rnnlab train --config-dir {folder} model=mine
cell: lstm                    # rnn, lstm or gru
num_layers: 1
hidden_size: {hidden_size}              # features of the state: more remembers more, and learns more slowly
embedding_size: {embedding_size}           # features of a token
dropout: {dropout}                  # more when training scores far better than validation
"""
_README = """\
# {title}

    rnnlab train --config-dir {folder} experiment=mine                        train, and see the score
    rnnlab train --config-dir {folder} experiment=mine -m model=rnn,lstm,gru   several models, one after the other
    rnnlab train --config-dir {folder} --help                                 what else can be set
"""


def main(argv: list[str]) -> int:
    """Write the folder, once its settings have been composed and the corpus was read.

    Args:
        argv: What follows the verb.

    Raises:
        ConfigError: A setting that there is none of, or a value out of range.
        DataError: The corpus is missing or cannot be read.
        FolderInUseError: There is something of that name already.
        CannotWriteError: The folder cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab init",
        description="Write a folder with configs of your own, for a task on your own data.",
        epilog="example: rnnlab init my-lab task=sentiment corpus=reviews.csv text_column=body label_column=kind",
    )
    parser.add_argument("folder", metavar="FOLDER", help="a new one")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="task=..., corpus=..., the task's own")
    arguments = one_line_errors(parser).parse_args(argv)
    folder = Path(arguments.folder)
    if "=" in arguments.folder:
        raise ConfigError(f"init needs the new folder first: rnnlab init my-lab {arguments.folder}")
    if not all(word.isprintable() for word in [arguments.folder, *arguments.settings]):
        raise ConfigError("init takes printable names and values only")
    if os.path.lexists(folder):
        raise FolderInUseError(f"{folder} is there already; init writes a new folder, choose another name")
    task, data = _read(arguments.settings)
    files = _files(folder, task, data)
    log_to(None)
    _write(folder, files)
    try:
        _check(folder)
    except BaseException:
        _take_back(folder, files)
        raise
    for name in files:
        print(f"written: {folder / name}")
    shown = quote(str(folder))
    print(f"\nnext:\n  rnnlab train --config-dir {shown} experiment={NAME}")
    print(f"  rnnlab train --config-dir {shown} experiment={NAME} --dry-run     builds all, trains nothing")
    return 0


def _read(words: list[str]) -> tuple[str, dict[str, str]]:
    """Take the settings apart: the task, and what it is told of its data.

    Raises:
        ConfigError: A key that the task does not have, or no such task.
    """
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"init takes KEY=VALUE, got {word!r}; rnnlab init --help shows an example")
        given[key.removeprefix("task.")] = value
    menu = read_menu("train")
    task = given.pop("task", menu.defaults["task"])
    drawn = {name for name, schema in SCHEMAS["task"].items() if not issubclass(schema, CorpusConfig)}
    known = [name for name in menu.groups["task"] if name not in drawn]  # those that read data
    if task not in known:
        raise ConfigError(f"task must be one of {', '.join(known)}, got {task!r}{did_you_mean(task, known)}")
    known = [key.removeprefix("task.") for key in menu.known if key.startswith("task.")]
    own = [key for key in known if not (names := menu.bringers(f"task.{key}")) or task in names]
    for key in given:
        if key not in own:
            raise ConfigError(f"task={task} has no setting {key!r}, only {', '.join(own)}{did_you_mean(key, own)}")
    if "corpus" not in given:
        raise ConfigError(f"init needs corpus=..., your own file or folder: {_EXAMPLES.get(task, 'corpus=PATH')}")
    return task, given


_EXAMPLES = {
    "sentiment": "corpus=reviews.csv, with a column of texts and one of labels",
    "next_word": "corpus=novels/, of .txt files",
    "music": "corpus=tunes.abc",
}


def _files(folder: Path, task: str, data: dict[str, str]) -> dict[str, str]:
    """Return the content of each file by its name in the folder."""
    menu = read_menu("train")
    defaults = compose_request(read_arguments("train", [f"task={task}"])).settings
    path = Path(os.path.expanduser(data["corpus"]))
    if path.exists():  # found from wherever the experiment is started; a named corpus stays a name
        data = {**data, "corpus": str(path.absolute())}
    own = {key: _value(settings(type(defaults.task))[key].kind, value) for key, value in data.items()}
    lines = yaml.safe_dump(own, allow_unicode=True, sort_keys=False, width=10_000).splitlines()
    where = quote(str(folder))

    def others(group: str, taken: str) -> str:
        return ", ".join(name for name in menu.groups[group] if name != taken)

    corpus = " ".join(str(own["corpus"]).split())
    experiment = _EXPERIMENT.format(
        task=task,
        corpus=corpus,
        folder=where,
        models=others("model", NAME),
        optimizers=others("optimizer", "adam"),
        schedulers=others("scheduler", "cosine"),
        data="".join(f"  {line}\n" for line in lines),
        lr=defaults.optimizer.lr,
        batch_size=defaults.trainer.batch_size,
        max_epochs=defaults.trainer.max_epochs,
    )
    model = _MODEL.format(
        folder=where,
        hidden_size=defaults.model.hidden_size,
        embedding_size=defaults.model.embedding_size,
        dropout=defaults.model.dropout,
    )
    readme = _README.format(title=f"{folder.name}: {task} on {corpus}", folder=where)
    return {f"experiment/{NAME}.yaml": experiment, f"model/{NAME}.yaml": model, "README.md": readme}


def _value(kind: type, text: str) -> object:
    """Return a typed value as YAML is to hold it: a column named 12 stays a text; ${...} is no reference.

    JSON has YAML's numbers, true, false and null without its surprises (1:30 is 90); what is none of them is told when
    the settings are checked.
    """
    if kind is not str:
        with suppress(ValueError):
            return json.loads(text)
    return text.replace("${", "\\${")


def _write(folder: Path, files: dict[str, str]) -> None:
    """Make the folder and its files.

    Raises:
        CannotWriteError: The disk is full, or there is no permission.
    """
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise cannot_write(folder, error) from error


def _check(folder: Path) -> None:
    """Compose what was written, read the corpus and build the model: what can go wrong does so now.

    Raises:
        UserError: It does.
    """
    request = compose_request(read_arguments("train", ["--config-dir", str(folder), f"experiment={NAME}"]))
    config = request.settings
    task = build_task(config.task, config.trainer, config.seed)
    task.read_corpus()
    task.train_windows(0)
    build_model(task, config)


def _take_back(folder: Path, files: dict[str, str]) -> None:
    """Remove what was written, and nothing else: the folder is free for the next try."""
    for name in files:
        (folder / name).unlink(missing_ok=True)
    for parent in dict.fromkeys([*((folder / name).parent for name in files), folder]):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
