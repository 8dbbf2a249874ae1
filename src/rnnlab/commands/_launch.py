"""`trainer.devices=N`: starts the N processes of a run, passes signals on, and says in one line which failed. No torch.

The first process has the terminal; the others write into a log of their own, which is read when one of them fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from rnnlab.commandline.checks import problems
from rnnlab.commandline.compose import Request
from rnnlab.errors import STOP_CODES, CannotWriteError, ConfigError, LostRankError, UserError
from rnnlab.hardware import usable_cores
from rnnlab.run_lock import lock_run
from rnnlab.run_lookup import find_run
from rnnlab.runs import read_json, record_result
from rnnlab.training.place import STORE, Place, environment, this_place
from rnnlab.training.signals import StopSignals

POLL_SECONDS = 0.05
MANY = 16  # processes that are started without being asked for, though there are fewer cores
GRACE_SECONDS = 5.0  # for the others to notice that one has failed; what they write is whole or not there
_LAST_BYTES = 1 << 14
_NAME = "run"  # file in the store: the run's name, told by the first rank
_KEY = "trainer.devices"


def launch(request: Request, typed: list[str]) -> int | None:
    """Start the processes that a run shall have, and wait for them; or let this one be one of them.

    Args:
        request: of `rnnlab train`; takes the number of torchrun's processes.
        typed: the command line after the verb.

    Returns:
        The exit code; None: this process trains, alone or as one of several.

    Raises:
        ConfigError: torchrun's number is not that of the settings, or does not go with them.
        LostRankError: one was killed.
        UserError: one failed with an error of its own.
    """
    place = this_place()
    if place is not None:
        _adopt(request, place.size)
        return None
    number = _number(request)
    if number == 1 or request.settings.dry_run:
        return None
    if not _is_typed(request) and number > max(MANY, usable_cores()):
        raise ConfigError(
            f"the run in resume={request.settings.resume} asks for {number} processes, more than this machine has "
            f"cores; to start them, say {_KEY}={number}"
        )
    with tempfile.TemporaryDirectory(prefix="rnnlab-") as store:
        return _Ranks(number, [sys.executable, "-P", "-m", "rnnlab", "train", *typed], Path(store)).run()


def tell_name(name: str) -> None:
    """Let the process that started this one know the run's name."""
    if store := os.environ.get(STORE):
        (Path(store) / _NAME).write_text(name, encoding="utf-8")


def is_supervised() -> bool:
    """Whether rnnlab itself started this rank, and will say which one failed."""
    return STORE in os.environ


def _number(request: Request) -> int:
    """How many processes are asked for: as typed, else those that a resumed run has."""
    if request.settings.resume is None or _is_typed(request):
        return request.settings.trainer.devices
    try:
        found = read_json(find_run(request.settings.resume) / "run.json")["config"]["trainer"].get("devices", 1)
    except (UserError, KeyError, TypeError, AttributeError):  # the one process that starts says what is wrong
        return 1
    return found if type(found) is int and 1 <= found <= 1024 else 1


def _adopt(request: Request, size: int) -> None:
    """Put the number of processes that there are into the settings.

    Raises:
        ConfigError: another number is asked for, or the batch cannot be divided by it.
    """
    trainer = request.settings.trainer
    if trainer.devices != size and (trainer.devices > 1 or _is_typed(request)):
        raise ConfigError(
            f"{_KEY}={trainer.devices} but torchrun has started {size} processes; leave {_KEY} out, or say "
            f"--nproc-per-node={trainer.devices}"
        )
    if trainer.devices != size:
        trainer.devices = request.config["trainer"]["devices"] = size
        request.overrides.append(f"{_KEY}={size}")
        if request.settings.resume is None and (wrong := problems(request.settings)):
            raise ConfigError("; ".join(wrong))


def _is_typed(request: Request) -> bool:
    return any(text.startswith(f"{_KEY}=") for text in request.overrides)


@dataclass(slots=True)
class _Rank:
    """One process.

    Attributes:
        number: its rank.
        process: itself.
        code: how it ended, negative for a signal; None while it runs.
        is_ended_by_us: whether we killed it.
    """

    number: int
    process: subprocess.Popen[bytes]
    code: int | None = None
    is_ended_by_us: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether it ended by a fault of its own."""
        fine = (None, 0, LostRankError.exit_code, *STOP_CODES)
        return self.code not in fine and not self.is_ended_by_us


class _Ranks:
    """The processes of a run."""

    def __init__(self, number: int, command: list[str], store: Path) -> None:
        """Prepare; nothing runs yet.

        Args:
            number: of processes.
            command: what each runs.
            store: an empty folder.
        """
        self._number, self._command, self._store = number, command, store
        self._ranks: list[_Rank] = []
        self._failed: _Rank | None = None

    def run(self) -> int:
        """Run them all to their end.

        Returns:
            The first one's exit code.

        Raises:
            UserError: one of them failed, and has not said so itself.
        """
        with StopSignals() as signals:
            try:
                for number in range(self._number):
                    self._ranks.append(_Rank(number, self._start(number)))
                self._watch(signals)
            finally:  # a second Ctrl-C, or a bug: none is left behind
                self._end_all()
        try:
            return self._judge(signals)
        except UserError as error:
            self._record(error)
            raise

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        place = Place(number, self._number, number, self._number, self._store)
        variables = {**os.environ, **environment(place)}
        if "GLOO_SOCKET_IFNAME" not in variables and Path("/sys/class/net/lo").exists():
            variables["GLOO_SOCKET_IFNAME"] = "lo"  # they are all here: nothing listens to the network
        try:
            log = None if number == 0 else self._log(number).open("wb")
            try:
                # A session of its own: Ctrl-C comes from us, once, and not from the terminal as well.
                return subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=variables,
                    start_new_session=True,
                )
            finally:
                if log is not None:
                    log.close()
        except OSError as error:
            raise CannotWriteError(f"cannot start rank {number} of {self._number}: {error}") from None

    def _watch(self, signals: StopSignals) -> None:
        """Wait until all have ended, or the others have had their time after one has failed."""
        told: int | None = None
        until = float("inf")
        while any(rank.code is None for rank in self._ranks) and time.monotonic() < until:
            if signals.received not in (None, told):
                told = signals.received
                self._pass_on(self._ranks, told)
            if signals.asked_to_save:
                signals.asked_to_save = False
                self._pass_on(self._ranks[:1], signal.SIGUSR1)  # it tells the others
            for rank in self._ranks:
                if rank.code is None and (code := rank.process.poll()) is not None:
                    rank.code = code
                    is_told = told is not None and code == -told  # before it could catch it
                    if rank.has_failed and not is_told and self._failed is None:
                        self._failed = rank
                    if rank.has_failed and rank.number == 0 and code > 0:
                        return  # it has said what is wrong: the others have nothing to add
                    if (rank.has_failed or code == LostRankError.exit_code) and until == float("inf"):
                        until = time.monotonic() + GRACE_SECONDS
            time.sleep(POLL_SECONDS)

    def _pass_on(self, ranks: list[_Rank], number: int) -> None:
        for rank in ranks:
            if rank.code is None:
                rank.process.send_signal(number)

    def _end_all(self) -> None:
        for rank in self._ranks:
            if rank.code is None:
                rank.is_ended_by_us = rank.process.poll() is None
                rank.process.kill()
                rank.code = rank.process.wait()

    def _judge(self, signals: StopSignals) -> int:
        """Say how they ended: by what the first has said, or in our own words."""
        first, failed = self._ranks[0], self._failed
        assert first.code is not None
        if first.has_failed and first.code > 0:
            return first.code
        if failed is None and signals.received is not None:
            return first.code if first.code in (0, *STOP_CODES) else signals.exit_code
        if failed is None and first.code >= 0 and first.code != LostRankError.exit_code:
            return first.code
        if failed is None:
            raise LostRankError(f"the {self._number} processes of the run have lost each other{self._advice()}")
        assert failed.code is not None
        name = f"rank {failed.number} of {self._number}"
        if failed.code < 0:
            memory = "; the system does that when memory runs out" if failed.code == -signal.SIGKILL else ""
            by = signal.Signals(-failed.code).name
            who = f"{name} (process {failed.process.pid})"
            raise LostRankError(f"{who} was killed by {by}{memory}; the others have ended{self._advice()}")
        lines = self._last_lines(failed.number)
        if failed.code == 1:
            sys.stderr.write("\n".join(lines) + "\n")  # a bug's traceback
        error = UserError(f"{name}: {(lines or [f'exit code {failed.code}'])[-1].removeprefix('error: ')}")
        error.exit_code = failed.code
        raise error

    def _record(self, error: UserError) -> None:
        """Write how the run ended where its first process did not: it was killed, or did not notice in its time."""
        with suppress(UserError):  # no run yet, or another process has gone on with it
            folder = find_run(self._run_name())
            with lock_run(folder):
                result = read_json(folder / "result.json")
                if result.get("status") == "running":
                    record_result(folder, "failed", result, error)

    def _run_name(self) -> str:
        """The run's name; empty if it has no folder yet."""
        try:
            return (self._store / _NAME).read_text(encoding="utf-8")
        except OSError:
            return ""

    def _advice(self) -> str:
        run = self._run_name()
        return f", what was saved is whole; go on: rnnlab train resume={quote(run)}" if run else ""

    def _log(self, number: int) -> Path:
        return self._store / f"rank-{number}.log"

    def _last_lines(self, number: int) -> list[str]:
        content = b"" if number == 0 else self._log(number).read_bytes()[-_LAST_BYTES:]
        return [line for line in content.decode(errors="replace").splitlines() if line.strip()]
