"""From files to windows: reading, tokens, vocabularies, columns and batches; knows no model and no task."""

from __future__ import annotations

from rnnlab.data.batches import SequenceBatches
from rnnlab.data.columns import ColumnWindows, batchify
from rnnlab.data.vocabulary import PAD, UNK, Vocabulary
from rnnlab.data.windows import Window

__all__ = ["PAD", "UNK", "ColumnWindows", "SequenceBatches", "Vocabulary", "Window", "batchify"]
