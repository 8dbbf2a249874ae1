"""Corpora: named ones with where they come from, and the user's own files; read, checked and split."""

from __future__ import annotations

from rnnlab.data.corpora.fingerprint import fingerprint, unread_files
from rnnlab.data.corpora.labelled import LabelledTexts, Rows, load_labelled_texts
from rnnlab.data.corpora.table import CORPORA, Corpus, Kind
from rnnlab.data.corpora.texts import TextCorpus, load_text_corpus
from rnnlab.data.corpora.tunes import TuneCorpus, load_tunes

__all__ = [
    "CORPORA",
    "Corpus",
    "Kind",
    "LabelledTexts",
    "Rows",
    "TextCorpus",
    "TuneCorpus",
    "fingerprint",
    "load_labelled_texts",
    "load_text_corpus",
    "load_tunes",
    "unread_files",
]
