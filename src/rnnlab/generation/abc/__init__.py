"""Tunes in ABC notation that a model wrote: read, check, play and draw them, write them to files."""

from rnnlab.generation.abc.acceptance import accepted_by_music21
from rnnlab.generation.abc.check import TuneCheck, check_tune
from rnnlab.generation.abc.performance import Performance, perform
from rnnlab.generation.abc.read import Tune, read_tune
from rnnlab.generation.abc.sound import render, wav_bytes
from rnnlab.generation.abc.write import format_tunes, write_album, write_tunes

__all__ = [
    "Performance",
    "Tune",
    "TuneCheck",
    "accepted_by_music21",
    "check_tune",
    "format_tunes",
    "perform",
    "read_tune",
    "render",
    "wav_bytes",
    "write_album",
    "write_tunes",
]
