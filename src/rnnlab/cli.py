"""`rnnlab VERB ...`: finds the verb, runs it, and turns what goes wrong into one line and an exit code.

Imports nothing heavy: `rnnlab --help` answers at once.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path

from rnnlab import startup
from rnnlab.disk import cannot_write
from rnnlab.errors import ConfigError, UserError, out_of_memory
from rnnlab.hardware import quiet_idle_threads
from rnnlab.training.signals import StopSignals, interruption

COMPOSED = {
    "train": "train a model: model=lstm task=sentiment; -m sweeps",
    "evaluate": "score a finished run: run=NAME",
    "predict": "what a run makes of a text: run=NAME text='...'",
    "generate": "let a run write: run=NAME prompt='...'",
    "xray": "how far a run remembers, and its gradients reach: run=NAME",
    "explore": "what each unit of a run knows, as a page: run=NAME",
}
PLAIN = {
    "runs": "list the runs under outputs/: task=music status=done sort=score",
    "show": "a run on one page: settings, scores, curves, samples",
    "compare": "is one run better than another, or is it chance?",
    "diff": "the settings in which runs differ",
    "diagnose": "what ails a run, and the settings to try: run=NAME",
    "report": "one HTML page of a run or a sweep",
    "rm": "remove runs; asks first",
    "board": "open TensorBoard on them",
    "init": "a folder with configs for your own data",
    "lesson": "known results on recurrent networks, measured: rnnlab lesson NAME",
    "bench": "how fast this machine is, beside torch.nn",
    "doctor": "what this machine has, and what works on it",
}
VERBS = {**COMPOSED, **PLAIN}
BENCHMARKS = {
    "cells": "one layer beside torch.nn's: training, packed rows, inference, token by token",
    "generate": "drawing a text token by token, beside a call of torch.nn for each",
    "start": "seconds from pressing enter to the first step, for each corpus on this machine",
    "train": "whole training steps beside the loops people write: same losses, then time and memory",
}

USAGE = """\
usage: rnnlab VERB [key=value ...]

{verbs}

Start with:
  rnnlab train task=sentiment model=lstm     a first model
  rnnlab                                     what to type next

rnnlab VERB --help explains a verb.
Tab completion: eval "$(rnnlab -sc install=bash)"   (or zsh)
                rnnlab -sc install=fish | source"""

_RUNNING = threading.RLock()  # a command may call another in its own thread
_WRITE_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG, errno.EIO}


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: Without the program's name; None: `sys.argv`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    try:
        # First of all: a job that is stopped while it imports torch exits with the documented code, too.
        with StopSignals(at_once=True) if arguments[:1] == ["train"] else nullcontext():
            startup.begin(since_process_start=argv is None)
            return _main(arguments)
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return getattr(stop, "exit_code", 130)


def _main(arguments: list[str]) -> int:
    """Run a command; say in one line what went wrong."""
    quiet_idle_threads()  # here, before anything loads torch
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no such letter shows its number instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with _alone():
            code = _run(arguments)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse's --help
        if isinstance(stop.__context__, BrokenPipeError):
            return 141  # rich has caught it, pointed stdout at nothing, and asks for an exit with 1
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        # `rnnlab runs | head`: Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if (stop := interruption(error)) is not None:
            raise stop from None
        mistake = _user_error(error)
        if mistake is None:
            raise
        if debug:
            import traceback

            traceback.print_exception(error)
        from rnnlab.wording import for_a_terminal

        # Wrong settings are listed line by line; a line end in any other message is part of a name.
        message = str(mistake) if isinstance(mistake, ConfigError) else str(mistake).replace("\n", "\\n")
        print(f"error: {for_a_terminal(message)}", file=sys.stderr)
        return mistake.exit_code


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other threads from running a command: Hydra's state, the log and torch's threads are the process's.

    Raises:
        ConfigError: one does.
    """
    if not _RUNNING.acquire(blocking=False):
        raise ConfigError("another thread of this process runs an rnnlab command; run this one in a process of its own")
    try:
        yield
    finally:
        _RUNNING.release()


def _run(argv: list[str]) -> int:
    """Find the verb and run it."""
    if not argv:
        from rnnlab.commands._next import welcome

        print(welcome())
        return 0
    if argv[0] == "help" and argv[1:2] and argv[1] in VERBS:
        argv = [argv[1], "--help"]
    if argv[0] in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        print(USAGE.format(verbs="\n".join(f"  {verb:<{width}}  {line}" for verb, line in VERBS.items())))
        return 0
    if "--version" in argv or argv[0] == "-V":
        from rnnlab import __version__

        print(f"rnnlab {__version__}")
        return 0
    verb, rest = argv[0], argv[1:]
    if verb in ("-sc", "--shell-completion"):
        from rnnlab.commandline.completion import complete

        return complete(rest)
    _check_current_folder()
    if verb in PLAIN:
        return import_module(f"rnnlab.commands.{verb}").main(rest)
    if verb in COMPOSED:
        return _run_composed(verb, rest)
    from rnnlab.wording import did_you_mean

    raise ConfigError(f"no command '{verb}'{did_you_mean(verb, list(VERBS))} (rnnlab --help lists them)")


def _run_composed(verb: str, argv: list[str]) -> int:
    """Run a verb whose settings Hydra composes."""
    if "--help" in argv or "-h" in argv:
        from rnnlab.commandline.help import command_help, print_help
        from rnnlab.commandline.options import config_dir

        print_help(command_help(verb, config_dir(argv)))
        return 0
    from rnnlab.commandline.compose import compose_request, read_arguments
    from rnnlab.config import COMMANDS
    from rnnlab.schema import settings

    known = settings(COMMANDS[verb])
    shortcuts = {f"--{key.replace('_', '-')}": f"{key}=true" for key in ("dry_run", "json") if key in known}
    if "file" in known:
        shortcuts["-"] = "file=-"
    arguments = read_arguments(verb, [shortcuts.get(word, word) for word in argv])
    flags = arguments.flags
    if flags.shell_completion:
        from rnnlab.commandline.completion import complete

        return complete(arguments.typed)
    if flags.multirun:
        from rnnlab.commands.sweep import sweep

        return sweep(arguments)
    if flags.cfg or flags.info or flags.hydra_help:
        from rnnlab.commandline.show import show

        return show(arguments)
    request = compose_request(arguments)
    startup.lap("settings")
    if verb == "train":
        from rnnlab.commands._launch import launch

        if (code := launch(request, argv)) is not None:
            return code
    module = import_module(f"rnnlab.commands.{verb}")
    startup.lap("torch")
    return module.run(request)


def _open_closed_streams() -> None:
    """Put the null device where the shell has closed a standard stream (`rnnlab ... >&-`).

    Else the next file that is opened takes the stream's number, and what is printed would go into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            if number:  # who reads says that there is no input
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))


def _check_current_folder() -> None:
    """Refuse to work where paths lead nowhere.

    Raises:
        ConfigError: the folder that the shell is in was removed.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ConfigError("the folder that you are in was removed; cd to another") from None


def _user_error(error: Exception) -> UserError | None:
    """Return the error in the user's words, or None for a bug."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in _WRITE_ERRORS:
        return cannot_write(Path(error.filename or "the results"), error)
    return out_of_memory(error)
