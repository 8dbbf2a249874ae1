"""task=music: characters of tunes in ABC notation, one tune a sequence.

Score: bits per character of held-out tunes. Each tune is read from an all-zero state; the symbol that ends a tune is
predicted and counted as one character, the one before its first character is only read. Tunes are divided by title, so
that settings of one tune stand in one split.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnlab.config import MusicConfig, TrainerConfig
from rnnlab.data import UNK, SequenceBatches, Vocabulary
from rnnlab.data.corpora import Kind, load_tunes
from rnnlab.data.encoded import Encoded
from rnnlab.data.ragged import Ragged, from_arrays, pack_texts, to_arrays, unpack_texts
from rnnlab.errors import CheckpointError, DataError
from rnnlab.evaluation.baselines import guessing_nats
from rnnlab.generation.abc import perform, render
from rnnlab.tasks.base import SPLITS, Sound, log
from rnnlab.tasks.encoded import read_encoded
from rnnlab.tasks.language import LanguageTask

END = "<end>"  # stands before and after every tune
SCORE_STEPS = 512
# Of a sample in TensorBoard: half a megabyte each.
SOUND_SECONDS, SOUND_RATE = 15, 16_000


class Music(LanguageTask):
    """Predict each next character of a tune."""

    name = "music"
    metric = "bits_per_char"

    def __init__(self, config: MusicConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings.

        Args:
            config: corpus.
            trainer: batch size and window length.
            seed: of the order of tunes.
        """
        super().__init__()
        self._config = config
        self._trainer = trainer
        self._seed = seed
        self._ids: dict[str, Ragged] = {}
        self._batches: SequenceBatches | None = None
        self.training_tunes: list[str] = []

    def read_corpus(self) -> None:
        """Read the tunes, build the vocabulary of characters, encode the splits."""
        encoded = read_encoded(self, self._config, Kind.TUNES, self._encode_corpus)
        self._ids = {split: from_arrays(encoded.arrays, split) for split in SPLITS}
        self.training_tunes = unpack_texts(from_arrays(encoded.arrays, "tunes"))
        self.corpus = facts = encoded.facts["corpus"]
        log.info(
            "corpus %s: %s tunes to train on (%s characters), %s valid, %s test; %s different characters",
            facts["name"],
            *(f"{facts[key]:,}" for key in ("train_tunes", "train_chars", "valid_tunes", "test_tunes", "vocab_size")),
        )
        for reason, count in encoded.facts["skipped"].items():
            log.info("left out: %s tunes, %s", f"{count:,}", reason)
        if longer := facts["longer_left_out"]:
            log.info("left out of training: %d tunes longer than task.max_len=%d", longer, self._config.max_len)

    def _encode_corpus(self) -> Encoded:
        corpus = load_tunes(self._config.corpus)
        longest = self._config.max_len
        kept = [tune for tune in corpus.train if longest is None or len(tune) <= longest]
        if not kept:
            raise DataError(f"no tune of {corpus.name} has at most task.max_len={longest} characters; raise it")
        if self._vocabulary is None:
            self._vocabulary = Vocabulary.build("".join(kept), specials=(END, UNK))
        tunes = {"train": kept, "valid": corpus.valid, "test": corpus.test}
        ids = {split: Ragged.of(map(self._encode, tunes[split])) for split in SPLITS}
        counts: dict[str, Any] = {f"{split}_tunes": len(ids[split]) for split in SPLITS}
        counts |= {f"{split}_chars": int((ids[split].sizes - 1).sum()) for split in SPLITS}
        counts |= {"vocab_size": len(self.vocabulary), "longer_left_out": len(corpus.train) - len(kept)}
        # The number of tunes before each split: a tune that moved from one split to the next is another corpus.
        described = [part for split in SPLITS for part in (np.array([len(ids[split])]), *ids[split])]
        facts = {"corpus": self._describe(corpus.name, counts, described), "skipped": corpus.skipped}
        return Encoded(to_arrays({**ids, "tunes": pack_texts(kept)}), facts)

    def train_windows(self, epoch: int) -> SequenceBatches:
        """Batches of tunes of like length, each cut into windows."""
        if self._batches is None:
            self._batches = SequenceBatches(
                self._ids["train"],
                None,
                self._trainer.batch_size,
                bptt_len=self._trainer.bptt_len,
                shuffle=True,
                seed=self._seed,
            )
        return self._batches.at_epoch(epoch)

    def score_windows(self, split: str, batch_size: int) -> SequenceBatches:
        """Tunes in order of length, each from an all-zero state."""
        return SequenceBatches(self._ids[split], None, batch_size, bptt_len=SCORE_STEPS)

    def restore(self, content: dict[str, Any]) -> None:
        """Take the vocabulary of a finished run."""
        super().restore(content)
        if END not in self.vocabulary:
            raise CheckpointError(f"vocabulary.json is damaged: it lacks {END}, which stands before and after a tune")

    def baseline_loss(self) -> float:
        """Of saying at each place how frequent the characters are; what stands before a tune is not predicted."""
        train, valid = (np.delete(ids.values, ids.offsets[:-1]) for ids in (self._ids["train"], self._ids["valid"]))
        return guessing_nats(train, valid, len(self.vocabulary))

    @property
    def stop_id(self) -> int:
        """The symbol that ends a tune."""
        return self.vocabulary.id_of(END)

    def encode_prompt(self, prompt: str) -> list[int]:
        r"""The symbol before a tune, then the prompt's characters; a typed "\n" is a line end."""
        characters = prompt.replace("\\n", "\n")
        unseen = sorted({c for c in characters if c not in self.vocabulary})
        if unseen:
            shown = " ".join(repr(c) for c in unseen[:5])
            raise DataError(f"the prompt holds characters that no training tune has: {shown}; leave them out")
        return self.vocabulary.encode([END, *characters])

    def decode(self, ids: list[int]) -> str:
        """The tune; the symbol before it is no part of it."""
        return "".join(self.vocabulary.decode(ids[1:]))

    def sound(self, text: str) -> Sound | None:
        """The beginning of a tune, as it is played; signs that are no music are passed over."""
        try:
            performance = perform(text)
        except ValueError:
            return None
        return Sound(render(performance, sample_rate=SOUND_RATE, max_seconds=SOUND_SECONDS), SOUND_RATE)

    def _encode(self, tune: str) -> list[int]:
        return self.vocabulary.encode([END, *tune, END])
