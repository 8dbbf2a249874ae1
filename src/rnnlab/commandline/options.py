"""Options on the command line: argparse's complaints as one line, with a close match."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NoReturn, TypeVar

from rnnlab.errors import CannotWriteError, ConfigError
from rnnlab.wording import did_you_mean

Parser = TypeVar("Parser", bound=argparse.ArgumentParser)


def one_line_errors(parser: Parser, hint: Callable[[str], str] = lambda option: "") -> Parser:
    """Make a parser raise ConfigError where it would print its usage and exit.

    Args:
        parser: With all of its options; it is changed.
        hint: What to say of an unknown option that is close to no option.

    Returns:
        The same parser.
    """
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]

    def refuse(message: str) -> NoReturn:
        if unknown := re.match(r"unrecognized arguments: (\S+)", message):
            word = unknown[1]
            if not word.startswith("-"):
                raise ConfigError(f"unknown argument {word}")
            raise ConfigError(f"unknown option {word}{did_you_mean(word, options) or hint(word)}")
        if wrong := re.match(r"argument (?:-\w+/)?(--[\w-]+)[^:]*: (.*)", message):
            raise ConfigError(f"{wrong[1]}: {wrong[2]}")
        if missing := re.match(r"the following arguments are required: (.*)", message):
            listing = " (rnnlab runs lists them)" if "RUN" in missing[1] else ""
            raise ConfigError(f"{parser.prog} needs {missing[1]}{listing}")
        raise ConfigError(message)

    parser.error = refuse
    return parser


def names(option: str, text: str, known: Collection[str]) -> list[str]:
    """Split 'S,M' into names, each once.

    Raises:
        ConfigError: One is not known.
    """
    found = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in found:
        if name not in known:
            raise ConfigError(
                f"{option}: expected some of {','.join(known)}, got '{name}'{did_you_mean(name, list(known))}"
            )
    return found


def check_writable(file: Path | None) -> None:
    """Refuse a file for results before they are made.

    Raises:
        CannotWriteError: There is no folder for it.
    """
    if file is not None and not file.absolute().parent.is_dir():
        raise CannotWriteError(f"cannot write {file}: there is no folder {file.parent}")


def config_dir(argv: list[str]) -> Path | None:
    """Return the folder of --config-dir, for help and completion: they take unfinished and wrong lines too."""
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if word in ("--config-dir", "-cd") or word.startswith("--config-dir="):
            return Path(word.partition("=")[2] or following)
    return None
