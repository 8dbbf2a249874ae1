"""Signals that ask a run to stop: the handler sets a flag, the loop saves at the next step's end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

_STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopSignals:
    """Catches SIGINT, SIGTERM and SIGHUP inside a `with`; a second SIGINT interrupts at once.

    A signal that is ignored stays ignored: SIGHUP under nohup, SIGINT in the background of a script.
    """

    def __init__(self) -> None:
        """Start with no signal received."""
        self.received: int | None = None
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
            for number in _STOPPING:
                # None: a handler that was not installed from Python, which could not be put back.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the handlers before back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
