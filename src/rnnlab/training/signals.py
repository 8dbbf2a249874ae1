"""Signals that ask a run to stop or to save.

Around a whole command they end it at once: nothing is under way that could not be read again. Around the training loop
they set a flag, and the loop saves at the next step's end. No torch: handlers stand before it is imported.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

_SAVING = getattr(signal, "SIGUSR1", None)
_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A signal came where it ends the command at once."""

    def __init__(self, number: int) -> None:
        """Keep the signal's number."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def interruption(error: BaseException) -> Interrupted | None:
    """Return the signal that an error came of: clearing up after an `Interrupted`, code may fail in its own way."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Interrupted):
        seen = None if seen.__suppress_context__ else seen.__context__  # `from None`: it was made into another error
    return seen


class StopSignals:
    """Catches SIGINT, SIGTERM and SIGHUP, which stop, and SIGUSR1, which saves, inside a `with`.

    A second SIGINT interrupts at once. A signal that is ignored stays ignored: SIGHUP under nohup, SIGINT in the
    background of a script. What one inside of another has received, both have.

    Attributes:
        received: number of the signal that asks to stop, None before it comes.
        asked_to_save: whether SIGUSR1 came; whoever saves sets it back.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        """Start with no signal received.

        Args:
            at_once: whether a signal to stop raises `Interrupted`; otherwise it waits to be asked for.
        """
        self.received: int | None = None
        self.asked_to_save = False
        self._at_once = at_once
        self._before: dict[int, object] = {}

    @property
    def name(self) -> str:
        """SIGINT, SIGTERM or SIGHUP."""
        return signal.Signals(self.received).name if self.received else "no signal"

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return 128 + (self.received or 0)

    def __enter__(self) -> StopSignals:
        """Install the handlers; in a thread other than the main one, where Python allows none, do nothing."""
        if threading.current_thread() is threading.main_thread():
            for number in (*_STOPPING, *(() if _SAVING is None else (_SAVING,))):
                # None: a handler that was not installed from Python, which could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
            if (outer := self._outer()) is not None:  # an import may have swallowed what its handler raised
                self.received, self.asked_to_save = outer.received, outer.asked_to_save
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers before back."""
        if (outer := self._outer()) is not None:
            outer.received, outer.asked_to_save = self.received, self.asked_to_save
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _outer(self) -> StopSignals | None:
        """Whose handlers these here stand in for."""
        owners = (getattr(handler, "__self__", None) for handler in self._before.values())
        return next((owner for owner in owners if isinstance(owner, StopSignals)), None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == _SAVING:
            self.asked_to_save = True
            return
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        if self.received is None or not self._at_once:  # what is being cleared up after the first is left to end
            self.received = number
            if self._at_once:
                raise Interrupted(number)


def end_with_parent() -> None:
    """Ask Linux to send this process SIGTERM when the one that started it is gone."""
    import ctypes

    set_death_signal = 1  # prctl.h: PR_SET_PDEATHSIG
    try:
        ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGTERM))
    except (OSError, AttributeError):  # another system: it goes on alone
        return
