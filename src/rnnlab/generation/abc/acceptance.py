"""Does a program that plays ABC notation read a tune? An opinion from outside, beside our own check."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stderr


def accepted_by_music21(tune: str) -> bool:
    """Whether music21 reads a tune: without an exception, with at least one note or chord, and with a key.

    music21 is lenient: it skips what it does not know and accepts bars of any length. It takes tens of milliseconds a
    tune, and seconds to import. Its warnings are not shown.

    Args:
        tune: one tune with its `X:` line.

    Raises:
        ModuleNotFoundError: music21 is not installed (extra `corpora`).
    """
    # Some of its warnings are plain prints to stderr.
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from music21 import converter, key, note, stream

        # music21 raises its own exceptions and, on text it did not foresee, any of Python's.
        try:
            score = converter.parseData(tune, format="abc")
            if not isinstance(score, stream.Stream):
                return False
            notes = score.recurse().getElementsByClass(note.NotRest)
            keys = score.recurse().getElementsByClass(key.KeySignature)
            return notes.first() is not None and keys.first() is not None
        except Exception:
            return False
