"""`rnnlab lesson NAME`: a claim about recurrent networks, its equation and line of code, a number and a picture."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from rnnlab.commandline.options import one_line_errors
from rnnlab.disk import cannot_write
from rnnlab.errors import ConfigError
from rnnlab.json_files import write_json, write_whole
from rnnlab.lessons.catalogue import ALIASES, LESSONS
from rnnlab.runs import outputs_root
from rnnlab.wording import did_you_mean, side_by_side

ALL = "all"


def main(argv: list[str]) -> int:
    """Give a lesson, or all of them, or list them.

    Args:
        argv: What follows the verb.

    Returns:
        0, or 1 if something else came out than was expected.

    Raises:
        ConfigError: No such lesson, or a bad option.
        CannotWriteError: The pages cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab lesson",
        description="Measure a known result about recurrent networks on rnnlab's own code. Without a name: list them.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a lesson, or all: one page with all of them")
    parser.add_argument("--quick", action="store_true", help="in seconds: less training, shorter sequences")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    arguments = one_line_errors(parser).parse_args(argv)
    if not 0 <= arguments.seed < 2**32:
        raise ConfigError(f"--seed must be from 0 to {2**32 - 1}, got {arguments.seed}")
    if arguments.name is None:
        print(
            json.dumps({name: about for name, (_, about) in LESSONS.items()}, indent=2) if arguments.json else _list()
        )
        return 0
    asked: str = arguments.name
    if asked == ALL:
        return _give_all(arguments)
    name = ALIASES.get(asked, asked)
    if name not in LESSONS:
        near = did_you_mean(name, [*LESSONS, ALL]) or " (rnnlab lesson lists them)"
        raise ConfigError(f"no lesson '{asked}'{near}")
    return _give_one(name, arguments)


def _list() -> str:
    lines = side_by_side((name, about) for name, (_, about) in LESSONS.items())
    tail = ["", "rnnlab lesson NAME gives one; rnnlab lesson all writes one page of all of them."]
    return "\n".join([*lines, *tail])


def _give_one(name: str, arguments: argparse.Namespace) -> int:
    import torch

    from rnnlab.lessons.lesson import give
    from rnnlab.lessons.page import as_text, one_page

    folder = _folder(name)
    torch.set_num_threads(1)  # more do not help models of this size, and a sum's order would depend on how many
    given = give(name, quick=arguments.quick, seed=arguments.seed)
    write_json(folder / "lesson.json", given.facts())
    path = folder / "lesson.html"
    write_whole(path, one_page(given, _made_by(name, arguments)))
    if arguments.json:
        print(json.dumps(given.facts(), indent=2))
    else:
        print(f"{as_text(given)}\n\nwritten: {path}  (open it in a browser)")
    return 0 if given.finding.holds else 1


def _give_all(arguments: argparse.Namespace) -> int:
    import torch

    from rnnlab.lessons.lesson import give
    from rnnlab.lessons.page import one_page, whole_page

    root = _folder("")
    torch.set_num_threads(1)
    lessons, failed = [], []
    width = max(map(len, LESSONS))
    for name in LESSONS:
        try:
            given = give(name, quick=arguments.quick, seed=arguments.seed)
        except Exception as error:  # one lesson that breaks must not cost the lecturer the others
            failed.append((name, f"{type(error).__name__}: {error}"))
            if not arguments.json:
                print(f"{name:<{width}}  FAILED: {error}", flush=True)
            continue
        lessons.append(given)
        folder = _folder(name)
        write_json(folder / "lesson.json", given.facts())
        write_whole(folder / "lesson.html", one_page(given, _made_by(name, arguments)))
        if not arguments.json:
            mark = "" if given.finding.holds else "NOT AS EXPECTED: "
            print(f"{name:<{width}}  {mark}{given.finding.verdict}", flush=True)
    path = root / "lessons.html"
    write_whole(path, whole_page(lessons, failed, _made_by(ALL, arguments)))
    if arguments.json:
        print(json.dumps([given.facts() for given in lessons], indent=2))
    else:
        print(f"\nwritten: {path}  (open it in a browser)")
    return 1 if failed or not all(given.finding.holds for given in lessons) else 0


def _folder(name: str) -> Path:
    """Make the folder of a lesson under outputs/.

    Raises:
        CannotWriteError: It cannot be made.
    """
    folder = outputs_root() / "lessons" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    return folder


def _made_by(name: str, arguments: argparse.Namespace) -> str:
    options = f"{' --quick' if arguments.quick else ''}{f' --seed {arguments.seed}' if arguments.seed else ''}"
    return f"Made by rnnlab lesson {name}{options}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
