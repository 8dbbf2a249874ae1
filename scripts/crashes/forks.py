"""A fork server: torch and rnnlab are imported once, every attempt of a run is a fork of this process.

What Hydra composes of a command line does not depend on a kill either, and is half of an attempt's time: it is
composed once for each, before the fork.

The parent runs no tensor op, so that no thread of a pool is missing in a child.
"""

from __future__ import annotations

import copy
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch  # noqa: F401  children must not import it anew

import rnnlab.commands.sweep
import rnnlab.commands.train
import rnnlab.training.ranks  # noqa: F401
from rnnlab.cli import main
from rnnlab.commandline import compose
from rnnlab.commandline.compose import Arguments, Request, read_arguments
from rnnlab.schema import plain
from rnnlab.training.place import Place, environment

Before = Callable[[Callable[[], None]], None]
"""What a child calls first: it is given a function that tells the parent a word."""

FAILED = 70  # of a child: an exception that the command line does not turn into an exit code
HUNG_SECONDS = 1800
LOST_SECONDS = 120  # for a process to notice that another of its training is gone
KILLED, LOST = -9, 10  # how those end that are killed, and those that trained with them

under_way: set[int] = set()
"""Processes of attempts that have not ended."""


@dataclass(slots=True)
class Child:
    """An attempt under way.

    Attributes:
        pid: of its process.
        pipe: what it tells: a byte for each thing that it was asked to tell.
        status: as from waitpid, None while it runs.
    """

    pid: int
    pipe: int
    status: int | None = None

    def wait_for_word(self) -> bool:
        """Wait until it tells something; False if it ends without."""
        ready, _, _ = select.select([self.pipe], [], [], HUNG_SECONDS)
        return bool(ready and os.read(self.pipe, 1))

    def wait(self, seconds: float = HUNG_SECONDS) -> int | None:
        """Wait for its end, or for so long.

        Returns:
            Its exit code, -9 for SIGKILL as in subprocess; None if it still runs.
        """
        deadline = time.monotonic() + seconds
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                under_way.discard(pid)
                os.close(self.pipe)
            elif time.monotonic() >= deadline:
                return None
            else:
                time.sleep(0.001)
        return os.waitstatus_to_exitcode(self.status)

    def kill(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.status is None:
            os.kill(self.pid, number)


@dataclass(slots=True)
class Team:
    """An attempt of several processes that train one model, under way.

    Attributes:
        children: the processes, in the order of their ranks.
        store: folder in which they find each other.
        victims: ranks that a SIGKILL is for.
    """

    children: list[Child]
    store: Path
    victims: list[int] = field(default_factory=list)

    def wait_for_word(self) -> bool:
        """Wait until the first tells something."""
        return self.children[0].wait_for_word()

    def wait(self, seconds: float = HUNG_SECONDS) -> int | None:
        """Wait for the end of all, or for so long: those that are not killed have to notice.

        Returns:
            -9 if one was killed and the others ended by themselves; else the exit code of the first that is none of
            theirs; None if one still runs.
        """
        deadline = time.monotonic() + seconds
        codes = [child.wait(max(0.0, deadline - time.monotonic())) for child in self.children]
        if KILLED in codes and None in codes:
            codes = [child.wait(LOST_SECONDS) for child in self.children]
            for child, code in zip(self.children, codes, strict=True):
                if code is None:
                    child.kill(signal.SIGKILL)
                    child.wait()
                    codes = [FAILED]
        if None in codes:
            return None
        shutil.rmtree(self.store, ignore_errors=True)
        if KILLED in codes:
            return next((code for code in codes if code not in (0, KILLED, LOST)), KILLED)
        return next((code for code in codes if code), 0)

    def kill(self, number: int) -> None:
        """Send the victims a signal."""
        for rank in self.victims:
            self.children[rank].kill(number)


def start_team(size: int, argv: list[str], log: Path, before: Before | None = None) -> Team:
    """Run `rnnlab ...` in several forks, as the ranks of one training."""
    store = Path(tempfile.mkdtemp(prefix="store-", dir=log.parent))
    children = [start(argv, log, before, Place(rank, size, rank, size, store)) for rank in range(size)]
    return Team(children, store, victims=list(range(size)))


def end_all() -> None:
    """Kill what is under way: the harness ends."""
    for pid in under_way:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def start(argv: list[str], log: Path, before: Before | None = None, place: Place | None = None) -> Child:
    """Run `rnnlab ...` in a fork.

    Args:
        argv: the command line without the program's name.
        log: what it prints is appended here.
        before: called in the child first, with a function that tells the parent a word.
        place: of the process among those of one training; None: it trains alone.
    """
    compose.compose_request = _composed_once
    _composed_once(read_arguments(argv[0], argv[1:]))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
            for number in (signal.SIGINT, signal.SIGTERM):  # as a shell starts it, whatever the harness does with them
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            if place is not None:
                os.environ |= {**environment(place), "GLOO_SOCKET_IFNAME": "lo"}
            os.close(read)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
            print(f"$ rnnlab {' '.join(argv)}", flush=True)
            if before is not None:
                before(lambda: _tell(write))
            code = main(argv)
            print(f"exit code {code}", flush=True)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    under_way.add(pid)
    os.close(write)
    return Child(pid, read)


_compose = compose.compose_request
_requests: dict[tuple[str, ...], Request] = {}


def _composed_once(arguments: Arguments) -> Request:
    """Stand in for `compose_request`: names of runs, which no composition looks at, are put in anew."""
    key = (arguments.command, *arguments.texts)
    if key not in _requests:
        _requests[key] = _compose(arguments)
    settings = copy.deepcopy(_requests[key].settings)
    for name in ("name", "resume"):
        setattr(settings, name, arguments.free.get(name))
    return replace(_requests[key], settings=settings, config=plain(settings), overrides=arguments.typed)


def _tell(pipe: int) -> None:
    try:
        os.write(pipe, b"x")
    except OSError:  # the parent does not listen any more
        pass
