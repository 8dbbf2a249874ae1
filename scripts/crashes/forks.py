"""A fork server: torch and rnnlab are imported once, every attempt of a run is a fork of this process.

What Hydra composes of a command line does not depend on a kill either, and is half of an attempt's time: it is
composed once for each, before the fork.

The parent runs no tensor op, so that no thread of a pool is missing in a child.
"""

from __future__ import annotations

import copy
import os
import select
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch  # noqa: F401  children must not import it anew

import rnnlab.commands.sweep
import rnnlab.commands.train  # noqa: F401
from rnnlab.cli import main
from rnnlab.commandline import compose
from rnnlab.commandline.compose import Arguments, Request, read_arguments
from rnnlab.schema import plain

FAILED = 70  # of a child: an exception that the command line does not turn into an exit code
HUNG_SECONDS = 1800


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


def start(argv: list[str], log: Path, before: Callable[[Callable[[], None]], None] | None = None) -> Child:
    """Run `rnnlab ...` in a fork.

    Args:
        argv: the command line without the program's name.
        log: what it prints is appended here.
        before: called in the child first, with a function that tells the parent a word.
    """
    compose.compose_request = _composed_once
    _composed_once(read_arguments(argv[0], argv[1:]))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
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
    os.close(write)
    return Child(pid, read)


_compose = compose.compose_request
_requests: dict[tuple[str, ...], Request] = {}


def _composed_once(arguments: Arguments, *, sweep: bool = False) -> Request:
    """Stand in for `compose_request`: names of runs, which no composition looks at, are put in anew."""
    key = (arguments.command, *arguments.texts)
    if key not in _requests:
        _requests[key] = _compose(arguments, sweep=sweep)
    settings = copy.deepcopy(_requests[key].settings)
    for name in ("name", "resume"):
        setattr(settings, name, arguments.free.get(name))
    return replace(_requests[key], settings=settings, config=plain(settings), overrides=arguments.typed)


def _tell(pipe: int) -> None:
    try:
        os.write(pipe, b"x")
    except OSError:  # the parent does not listen any more
        pass
