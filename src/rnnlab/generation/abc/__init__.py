"""Tunes in ABC notation that a model wrote: read them, check them, write them to a file."""

from rnnlab.generation.abc.acceptance import accepted_by_music21
from rnnlab.generation.abc.check import TuneCheck, check_tune
from rnnlab.generation.abc.read import Tune, read_tune, read_tunes
from rnnlab.generation.abc.write import format_tunes, write_tunes

__all__ = [
    "Tune",
    "TuneCheck",
    "accepted_by_music21",
    "check_tune",
    "format_tunes",
    "read_tune",
    "read_tunes",
    "write_tunes",
]
