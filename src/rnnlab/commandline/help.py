"""`rnnlab VERB --help`: choices from configs/, settings from the schema, so that help cannot fall behind. No Hydra."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from textwrap import wrap

from rnnlab.commandline.menu import Menu, read_menu
from rnnlab.schema import REQUIRED, Setting

WIDTH = 80
_NAME = 24  # columns of a setting's name, as long as checkpoint_every_minutes
_DEFAULT = 10

_ABOUT = {
    "train": "Train a model: choose a task, a model, an optimizer; set what should differ.",
    "evaluate": "Score a finished run on a split of its corpus.",
    "predict": "Show what a run makes of a text: its class, or the likeliest next tokens.",
    "xray": "Measure how far back a run's states, gradients and losses reach.",
    "generate": "Let a language model write on from a prompt, or a music model write tunes.",
    "explore": "Colour held-out text by what any unit holds, find the unit that knows most of a property, and let the "
    "model run with it held. One HTML page, to be opened in a browser, and explore.json.",
}
_EXAMPLES = {
    "train": [
        "rnnlab train task=sentiment model=lstm",
        "rnnlab train task=next_word model=gru trainer.max_epochs=5 seed=1 name=gru-1",
        "rnnlab train -m model=rnn,lstm,gru optimizer.lr=1e-3,3e-3 seed=0,1,2",
    ],
    "evaluate": [
        "rnnlab evaluate run=sentiment-lstm",
        "rnnlab evaluate run=sentiment-lstm split=valid --json",
        "rnnlab evaluate run=music-gru tunes=20 checkpoint=last",
    ],
    "predict": [
        "rnnlab predict run=sentiment-lstm text='not bad, not bad at all'",
        "rnnlab predict run=sentiment-lstm file=reviews.txt --json",
        "echo 'the state of the' | rnnlab predict run=next_word-lstm -",
    ],
    "xray": [
        "rnnlab xray run=adding-lstm",
        "rnnlab xray run=next_word-lstm steps=128 split=test",
    ],
    "generate": [
        "rnnlab generate run=music-lstm count=3 seed=7",
        "rnnlab generate run=music-lstm count=3 output=tunes/",
        "rnnlab generate run=next_word-lstm prompt='my fellow' temperature=0.8",
    ],
    "explore": [
        "rnnlab explore run=music-lstm",
        "rnnlab explore run=music-lstm clamp=0:137=1.0,0:c12=-3 hold=0",
        "rnnlab explore run=next_word-lstm file=speech.txt output=speech.html",
    ],
}
_OPTIONS = {
    "-m": (
        "run every combination of values: seed=0,1,2 or 'seed=range(5)'; the same command again runs what is missing",
        ("train",),
    ),
    "--jobs N": ("with -m: so many side by side, the cores shared among them", ("train",)),
    "--dry-run": ("build everything, run one window, write nothing", ("train",)),
    "--json": ("print JSON, for other programs", ("evaluate", "predict", "generate", "xray", "explore")),
    "--cfg job": ("print the settings in force and do nothing", ()),
    "--config-dir DIR": ("your own configs, in the same folders: DIR/model/mine.yaml", ("train",)),
    "--debug": ("show the traceback of an error", ()),
}


def command_help(command: str, config_dir: Path | None = None) -> str:
    """Return the help of a composed verb, at most 80 columns wide.

    Args:
        command: One of `COMMANDS`.
        config_dir: The user's own configs, listed with ours.
    """
    menu = read_menu(command, config_dir, plugins=True)
    chooses = "[GROUP=CHOICE ...] " if menu.groups else ""
    lines = [
        f"usage: rnnlab {command} {chooses}[SETTING=VALUE ...]",
        "",
        *wrap(_ABOUT[command], WIDTH),
        "",
        "examples:",
    ]
    lines += [f"  {example}" for example in _EXAMPLES[command]]
    lines += ["", "options:", *_options(command)]
    if menu.groups:
        lines += ["", "choices (* is taken when nothing is said):", *_choices(menu)]
    lines += ["", "settings, with their defaults:", *_settings(menu)]
    if menu.groups:
        note = "A task or experiment brings some values of its own; add --cfg job to see those in force."
        lines += ["", *wrap(note, WIDTH)]
    return "\n".join(lines)


def print_help(text: str) -> None:
    """Print a help; on a terminal that is lower than it, through a pager ($PAGER, else less), so that it begins on top.

    Args:
        text: The help.
    """
    is_long = text.count("\n") >= shutil.get_terminal_size().lines
    pager = shlex.split(os.environ.get("PAGER") or "less")
    if sys.stdout.isatty() and sys.stdin.isatty() and is_long and pager and shutil.which(pager[0]):
        # F, X: what fits is printed and stays; R: colours.
        subprocess.run(pager, input=text + "\n", text=True, env={"LESS": "FRX", **os.environ}, check=False)
    else:
        print(text)


def _choices(menu: Menu) -> Iterator[str]:
    """Yield the groups with their choices."""
    for group, files in menu.groups.items():
        if len(files) < 2 and group in menu.defaults and menu.defaults[group] in files:
            continue  # nothing to choose
        yield f"  {group}="
        for name, choice in files.items():
            star = "*" if menu.defaults.get(group) == name else " "
            yield from _hanging(f"  {star} {name:<12}", choice.description, 17)


def _settings(menu: Menu) -> Iterator[str]:
    """Yield the settings by section, those without a section first."""
    section = ""
    for key in sorted(menu.variants, key=lambda key: "." in key):  # stable: the schema's order otherwise
        group, _, name = key.rpartition(".")
        if group != section:
            section = group
            yield f"  {group}."
        indent = "    " if group else "  "
        for setting, bringers in menu.variants[key]:
            notes = [setting.doc]
            if listed := ", ".join(setting.choices or setting.names) or setting.range:
                notes.append(f"({listed})")
            if bringers:
                notes.append(f"[{group}={', '.join(bringers)}]")
            head = f"{indent}{name:<{_NAME}} {_default(setting):<{_DEFAULT}}"
            yield from _hanging(head, " ".join(notes), 5 + _NAME + _DEFAULT)


def _default(setting: Setting) -> str:
    """Write a default as it would be typed."""
    value = setting.default
    if value == REQUIRED:
        # lr: each choice brings its own; run: the user must say.
        return "by choice" if "." in setting.key else "needed"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return str(value.value)
    return str(value) if value != "" else "''"


def _options(command: str) -> Iterator[str]:
    """Yield the options a command has."""
    for option, (line, commands) in _OPTIONS.items():
        if not commands or command in commands:
            yield from _hanging(f"  {option:<18}", line, 20)


def _hanging(head: str, text: str, indent: int) -> Iterator[str]:
    """Yield a name and its text beside it, wrapped under itself."""
    lines = wrap(text, WIDTH - indent, break_on_hyphens=False) or [""]
    fits = len(head) <= indent and len(head.rstrip()) < indent  # a space at least between a name and its text
    yield f"{head:<{indent}}{lines[0]}".rstrip() if fits else head
    for line in lines[1:] if fits else lines:
        yield " " * indent + line
