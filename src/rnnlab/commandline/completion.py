"""Tab completion for bash, zsh and fish: verbs, run names, groups, choices, settings, values.

`rnnlab -sc install=SHELL` prints a script, which calls `rnnlab -sc query=SHELL` with the line in COMP_LINE. The answer
comes from the schema and configs/ alone: Hydra's would take half a second a TAB, and knows no verbs. Hydra's own script
serves fish; in bash it lets no word end with a space, and takes the equal sign out of COMP_WORDBREAKS for all programs.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnlab.commandline.menu import Menu

SHELLS = ("bash", "zsh", "fish")
_RUN_KEYS = ("run=", "resume=")
_FOR_BASH = re.compile(r"[\s'\"\\$`&|;()<>*?\[\]{}!]")
_PATH_KEYS = ("file", "output", "task.corpus")

# Of a composed verb with no entry here: --json and --cfg.
_OPTIONS = {
    "train": "--dry-run --multirun --jobs --cfg --config-dir",
    "runs": "--json",
    "show": "--json",
    "diagnose": "--json",
    "diff": "--json",
    "compare": "--json --split --by-length --resamples --seed --threads",
    "report": "--output",
    "rm": "--yes",
    "lesson": "--quick --seed --json",
    "init": "",
    "board": "--port --no-browser",
    "doctor": "--json",
    "bench": "",
    "bench cells": "--json --threads --shapes --cells --modes --seconds --load",
    "bench train": "--json --threads --cases --contenders --data --parity-steps --seconds --steps",
    "bench generate": "--json --threads --cells --hidden-size --num-layers --vocab-size --num-tokens --count --seconds",
    "bench start": "--json --corpora --repeats",
}
_SCRIPTS = {
    # Bash replaces what stands behind the last of COMP_WORDBREAKS: of task=music only music.
    "bash": r"""_rnnlab() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$'\n'
    local word=${line##* }
    local head=${word%"${word##*[$COMP_WORDBREAKS]}"}
    compopt -o nospace
    COMPREPLY=($(COMP_LINE=$line "${COMP_WORDS[0]}" -sc query=bash 2> /dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$head"}")
}
complete -o default -F _rnnlab rnnlab""",
    "zsh": r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_rnnlab() {
    local -a found=(${(f)"$(COMP_LINE=$LBUFFER $words[1] -sc query=zsh 2> /dev/null)"})
    local -a whole=(${${(M)found:#* }% }) begun=(${found:#* })
    (( $#whole )) && compadd -S ' ' -a whole
    (( $#begun )) && compadd -S '' -a begun
}
compdef _rnnlab rnnlab""",
}
_REMOVALS = {
    "bash": "complete -r rnnlab; unset -f _rnnlab",
    "zsh": "compdef -d rnnlab; unfunction _rnnlab",
}


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
        if shell == "bash":  # the others escape what they put in
            words = [_FOR_BASH.sub(r"\\\g<0>", word) for word in words]
        # fish itself ends with a space what is whole.
        print("\n".join(words if shell == "fish" else map(_ended, words)))
        return 0
    if shell == "fish":
        return _print_hydras(action)
    print(_SCRIPTS[shell] if action == "install" else _REMOVALS[shell])
    return 0


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
        own = _OPTIONS.get(" ".join(["bench", *rest[:1]]) if verb == "bench" else verb, "--json --cfg")
        return [option for option in (*own.split(), "--help", "--debug") if option.startswith(current)]
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


def _ended(word: str) -> str:
    """Return a word as a shell is to put it in: with a space, unless more belongs to it."""
    return word if word.endswith(("=", ".", "/", ",")) else f"{word} "


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
    key, equals, _ = current.partition("=")
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
    chosen = {group: {choice} for group, choice in menu.defaults.items()}
    for word in words:
        group, _, names = word.partition("=")
        if group in menu.groups:
            chosen[group] = set(names.split(","))  # a sweep names several
    key, equals, start = current.partition("=")
    if equals:
        # In a sweep, one value after the other: model=rnn,l
        done, comma, start = start.rpartition(",") if {"-m", "--multirun"} & {*words} else ("", "", start)
        offered = _values(menu, chosen, key, start)
        return [f"{key}={done}{comma}{value}" for value in offered if value.startswith(start)]
    found = [f"{group}=" for group in menu.groups]
    for name in menu.known:
        section = name.partition(".")[0]
        bringers = menu.bringers(name)
        if not bringers or chosen.get(section, set()) & set(bringers):
            # model. first, then the keys in it: forty names at once help nobody.
            found.append(f"{name}=" if "." in current or "." not in name else f"{section}.")
    return sorted({word for word in found if word.startswith(current)})


def _values(menu: Menu, chosen: dict[str, set[str]], key: str, start: str) -> list[str]:
    """List the values of a group, an Enum, a switch, the names that a text may be, or the files of a path."""
    if key in menu.groups:
        return list(menu.groups[key])
    section = key.partition(".")[0]
    forms = [
        setting
        for setting, bringers in menu.variants.get(key, [])
        if not bringers or chosen.get(section, set()) & set(bringers)
    ]
    found = [value for form in forms for value in (["true", "false"] if form.kind is bool else form.choices)]
    found += [name for form in forms for name in form.names]
    return [*dict.fromkeys(found), *(_paths(start) if key in _PATH_KEYS else [])]


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


def _print_hydras(action: str) -> int:
    """Print Hydra's script for fish."""
    from hydra._internal.core_plugins.fish_completion import FishCompletion

    from rnnlab.commandline.hydra_app import config_loader, initialized

    with initialized("train", None):
        plugin = FishCompletion(config_loader())
        kept = sys.argv
        sys.argv = ["rnnlab"]  # the script completes the program it was printed by, also under python -m
        try:
            getattr(plugin, action)()
        finally:
            sys.argv = kept
    return 0
