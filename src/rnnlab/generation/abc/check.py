"""Is a text a tune? Whether it is well-formed ABC notation, and whether its bars fill the metre.

What counts as filled: a bar as long as the metre says. A shorter bar beside the tune's start or end, a repeat, a double
bar or an ending is partial: there a tune may have its pickup and what the pickup took. Partial bars count neither for
nor against. Every other bar is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from rnnlab.generation.abc.music import read_music
from rnnlab.generation.abc.read import read_tune
from rnnlab.generation.abc.voice import Bar

# Printed collections have slips of the pen: one wrong bar in ten is still a tune.
MIN_FILLED_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class TuneCheck:
    """What was found about one tune.

    Attributes:
        reason: why it is not accepted, in a sentence; None if it is.
        is_readable: the notation itself holds no error (its bars may still be wrong).
        num_filled: bars as long as the metre.
        num_wrong: bars that are too long, or too short where no partial bar may stand.
        num_partial: shorter bars where a partial bar may stand.
        num_notes: notes and chords.
    """

    reason: str | None
    is_readable: bool = True
    num_filled: int = 0
    num_wrong: int = 0
    num_partial: int = 0
    num_notes: int = 0

    @property
    def is_accepted(self) -> bool:
        """Whether it is a well-formed tune whose bars fill the metre."""
        return self.reason is None

    @property
    def num_bars(self) -> int:
        """Bars that are right or wrong: all but the partial ones."""
        return self.num_filled + self.num_wrong

    @property
    def filled_share(self) -> float:
        """Filled bars over `num_bars`, 0 to 1; nan when there are none."""
        return self.num_filled / self.num_bars if self.num_bars else math.nan


def check_tune(tune: str, *, min_filled_share: float = MIN_FILLED_SHARE) -> TuneCheck:
    """Check one tune.

    A tune is accepted if its header has a key and a metre that is not free, its music is ABC notation with at least one
    note, and enough of its bars fill the metre. `X:`, `T:` and `L:` may be missing: a number is added on writing, a
    title is no music, and the standard gives a missing `L:` a value.

    Args:
        tune: one tune, as `rnnlab.data.abc.split_tunes` gives it.
        min_filled_share: least `filled_share` to accept, 0 to 1.

    Returns:
        Counts, and the first reason against the tune, if any. Bad music is an answer here, never an exception.

    Raises:
        ValueError: min_filled_share is out of range.
    """
    if not 0 <= min_filled_share <= 1:
        raise ValueError(f"min_filled_share must be from 0 to 1, got {min_filled_share}")
    try:
        header = read_tune(tune)
        music = read_music(header.body, metre=header.metre, unit_length=header.unit_length)
    except ValueError as error:
        return TuneCheck(reason=str(error), is_readable=False)
    wrong = [(index, bar) for index, bar in enumerate(music.bars) if _is_wrong(bar)]
    check = TuneCheck(
        reason=None,
        num_filled=sum(bar.length == bar.metre for bar in music.bars),
        num_wrong=len(wrong),
        num_partial=sum(bar.metre is not None and bar.length < bar.metre and not _is_wrong(bar) for bar in music.bars),
        num_notes=music.num_notes,
    )
    reason = None
    if not check.num_notes:
        reason = "there is no note"
    elif check.num_bars == 0:
        reason = "the metre is free" if header.metre is None else "no bar is as long as the metre"
    elif check.filled_share < min_filled_share:
        index, bar = wrong[0]
        reason = (
            f"{check.num_wrong} of {check.num_bars} bars do not fill the metre; the first is bar {index + 1}, line "
            f"{bar.line} of the music, with {bar.length} of a whole note where {bar.metre} belongs"
        )
    return check if reason is None else replace(check, reason=reason)


def _is_wrong(bar: Bar) -> bool:
    if bar.metre is None or bar.length == bar.metre:
        return False
    return bar.length > bar.metre or not (bar.opens or bar.closes)
