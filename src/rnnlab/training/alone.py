"""One process that trains by itself: what the loop asks of several that train together, answered at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rnnlab.models.state import State
from rnnlab.training.counters import Counters
from rnnlab.training.randomness import Random
from rnnlab.training.signals import StopSignals

if TYPE_CHECKING:
    from rnnlab.training.ranks import Ranks  # which imports torch.distributed

T = TypeVar("T")
Processes: TypeAlias = "Ranks | Alone"


class Alone:
    """The methods of `Ranks` that are called between steps, for a process that has nobody to speak to."""

    rank, size, is_first = 0, 1, True

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what is made."""
        return make()

    def share_state(self, state: State) -> State:
        """All rows are this one's."""
        return state

    def of_the_others(self, state: State, num_rows: int, random: Random) -> dict[str, Any]:
        """There are none: a checkpoint holds no more than this process's."""
        return {}

    def asked(self, signals: StopSignals, counters: Counters) -> tuple[bool, bool]:
        """Whether signals ask to stop and to save."""
        return signals.received is not None, signals.asked_to_save

    def seed(self, seed: int, step: int = 0) -> None:
        """Draw on: only the others need generators of their own."""

    def wait(self) -> None:
        """All are here."""

    def close(self) -> None:
        """There is nobody to leave."""
