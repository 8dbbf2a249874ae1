"""Tab completion for bash, zsh and fish: verbs, run names, groups, choices, settings, values.

`rnnlab -sc install=SHELL` prints Hydra's script, which calls `rnnlab -sc query=SHELL` with the line in COMP_LINE. The
answer comes from the schema and configs/ alone: Hydra's would take half a second a TAB, and knows no verbs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnlab.commandline.menu import Menu

SHELLS = ("bash", "zsh", "fish")
_RUN_KEYS = ("run=", "resume=")
_PATH_KEYS = ("file", "output", "task.corpus")


def complete(argv: list[str]) -> int:
    """Answer `rnnlab -sc ...`.

    Args:
        argv: What follows `-sc`: install=SHELL, uninstall=SHELL or query=SHELL.

    Raises:
        ConfigError: An unknown action or shell.
    """
    from rnnlab.errors import ConfigError

    action, _, shell = (argv[0] if argv else "").partition("=")
    if action not in ("install", "uninstall", "query") or shell not in SHELLS:
        raise ConfigError(f"-sc takes install=SHELL or uninstall=SHELL, SHELL one of {', '.join(SHELLS)}")
    if action == "query":
        words = suggestions(os.environ.get("COMP_LINE", ""))
        print(("\n" if shell == "fish" else " ").join(words))
        return 0
    return _print_script(action, shell)


def suggestions(line: str) -> list[str]:
    """Return what may come next on a command line.

    Args:
        line: The line up to the cursor, the program's name first.
    """
    from rnnlab.cli import BENCHMARKS, COMPOSED, PLAIN, VERBS

    words = line.split()
    if len(words) > 1 and Path(words[0]).name.startswith("python"):
        words = ["rnnlab", *words[3:]] if words[1:3] == ["-m", "rnnlab"] else ["rnnlab", *words[2:]]
    current = "" if not words or line[-1:].isspace() else words.pop()
    if len(words) <= 1:
        return [word for word in (*VERBS, "--help", "--version") if word.startswith(current)] if words else []
    verb, rest = words[1], words[2:]
    if current.startswith("-"):
        options = _options(verb)
        return [option for option in options if option.startswith(current)]
    if verb == "bench":
        return [name for name in BENCHMARKS if name.startswith(current) and not rest]
    if verb == "lesson":
        from rnnlab.lessons.catalogue import LESSONS

        return [name for name in (*LESSONS, "all") if name.startswith(current) and not rest]
    if verb in PLAIN:
        return _plain(verb, rest, current)
    if verb not in COMPOSED:
        return []
    for key in _RUN_KEYS:
        if current.startswith(key):
            return [key + name for name in _run_names(current.removeprefix(key))]
    return _settings(verb, rest, current)


def _options(verb: str) -> list[str]:
    """List the options of a verb."""
    own = {
        "train": ["--dry-run", "--multirun", "--jobs", "--cfg", "--config-dir"],
        "runs": ["--json"],
        "show": ["--json"],
        "diagnose": ["--json"],
        "diff": ["--json"],
        "compare": ["--json", "--split", "--resamples", "--seed", "--threads"],
        "report": ["--output"],
        "rm": ["--yes"],
        "lesson": ["--quick", "--seed", "--json"],
        "init": [],
        "board": ["--port", "--no-browser"],
        "doctor": ["--json"],
        "bench": ["--json", "--threads", "--shapes", "--cells", "--modes", "--seconds", "--load"],
    }
    return [*own.get(verb, ["--json", "--cfg"]), "--help", "--debug"]


def _plain(verb: str, words: list[str], current: str) -> list[str]:
    """Complete the arguments of a verb that Hydra has nothing to do with."""
    match verb:
        case "runs":
            return _filters(current)
        case "init" if words:
            return _data_settings(words, current)
        case "show" | "report" | "diagnose" if [word for word in words if not word.startswith("-")]:
            return []  # they take one run
        case "show" | "board":
            return _run_names(current)
        case "diagnose":
            return [f"run={name}" for name in _run_names(current.removeprefix("run="))]
        case "compare" | "diff" | "report" | "rm":
            sweeps = {name.rpartition("/")[0] for name in _run_names("")} - {""}
            return [name for name in sorted({*sweeps, *_run_names("")} - {*words}) if name.startswith(current)]
        case _:
            return []


def _filters(current: str) -> list[str]:
    """Complete `rnnlab runs`: its keys, and the values that its runs have."""
    from rnnlab.run_list import list_runs
    from rnnlab.selection import FILTERS, ORDERS

    key, equals, start = current.partition("=")
    if not equals:
        return [f"{key}=" for key in (*FILTERS, "sort") if key.startswith(current)]
    if key not in (*FILTERS, "sort"):
        return []
    values = ORDERS if key == "sort" else sorted({getattr(run, key) for run in list_runs()} - {""})
    return [f"{key}={value}" for value in values if value.startswith(start)]


def _data_settings(words: list[str], current: str) -> list[str]:
    """Complete `rnnlab init FOLDER`: task= and what the task is told of its data."""
    key, equals, start = current.partition("=")
    if key == "corpus" and equals:
        return [f"corpus={path}" for path in _paths(start)]
    offered = _settings("train", words, current if key == "task" else f"task.{current}")
    own = [word.removeprefix("task.") for word in offered]
    return [*own, *(["task="] if not equals and key != "task" and "task=".startswith(current) else [])]


def _run_names(start: str) -> list[str]:
    """List the runs whose names begin so."""
    from rnnlab.runs import run_names

    return [name for name in run_names() if name.startswith(start)]


def _settings(verb: str, words: list[str], current: str) -> list[str]:
    """Complete a setting's name or value, by the choices made so far."""
    from rnnlab.commandline.menu import read_menu
    from rnnlab.commandline.options import config_dir

    menu = read_menu(verb, config_dir(words), plugins=True)
    key, equals, start = current.partition("=")
    if equals:
        return [f"{key}={value}" for value in _values(menu, key, start) if value.startswith(start)]
    chosen = {group: {choice} for group, choice in menu.defaults.items()}
    for word in words:
        group, _, names = word.partition("=")
        if group in menu.groups:
            chosen[group] = set(names.split(","))  # a sweep names several
    found = [f"{group}=" for group in menu.groups]
    for name in menu.known:
        section = name.partition(".")[0]
        bringers = menu.bringers(name)
        if not bringers or chosen.get(section, set()) & set(bringers):
            # model. first, then the keys in it: forty names at once help nobody.
            found.append(f"{name}=" if "." in current or "." not in name else f"{section}.")
    return sorted({word for word in found if word.startswith(current)})


def _values(menu: Menu, key: str, start: str) -> list[str]:
    """List the values of a group, an Enum, a switch, or the files of a path."""
    if key in menu.groups:
        return list(menu.groups[key])
    if key in _PATH_KEYS:
        return _paths(start)
    for setting, _ in menu.variants.get(key, []):
        return ["true", "false"] if setting.kind is bool else setting.choices
    return []


def _paths(start: str) -> list[str]:
    """List the files and folders whose paths begin so, folders with a slash."""
    folder, _, name = start.rpartition("/")
    base = folder + "/" if "/" in start else ""
    try:
        entries = sorted(os.scandir(base or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    shown = (entry for entry in entries if not entry.name.startswith(".") or name.startswith("."))
    return [base + entry.name + ("/" if entry.is_dir() else "") for entry in shown]


def _print_script(action: str, shell: str) -> int:
    """Print Hydra's script for a shell; bash's serves zsh too."""
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra._internal.core_plugins.fish_completion import FishCompletion

    from rnnlab.commandline.hydra_app import config_loader, initialized

    with initialized("train", None):
        plugin = (FishCompletion if shell == "fish" else BashCompletion)(config_loader())
        kept = sys.argv
        sys.argv = ["rnnlab"]  # the script completes the program it was printed by, also under python -m
        try:
            getattr(plugin, action)()
        finally:
            sys.argv = kept
    return 0
