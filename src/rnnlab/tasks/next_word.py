"""task=next_word: a word-level language model over one long text, with the state carried from window to window.

Score: perplexity of every token of the split, `<eos>` (one a line) and `<unk>` included, read as one stream from an
all-zero state. An `<eos>` stands before the first token, so that this one is predicted too: 82,430 predictions for the
82,430 tokens of Penn Treebank's test split.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnnlab.config import NextWordConfig, TrainerConfig
from rnnlab.data import UNK, ColumnWindows, Vocabulary
from rnnlab.data.corpora import Kind, load_text_corpus
from rnnlab.data.encoded import Encoded
from rnnlab.data.tokens import EOS, join_tokens, tokenizer
from rnnlab.errors import CheckpointError, ConfigError
from rnnlab.evaluation.baselines import guessing_nats
from rnnlab.tasks.base import SPLITS, log
from rnnlab.tasks.encoded import read_encoded
from rnnlab.tasks.language import LanguageTask

# Steps scored at a time: bounds the memory of T x V logits, and cannot change the score.
SCORE_STEPS = 256

# Of text that brings no <unk> of its own.
MIN_COUNT = 3
MAX_VOCAB = 10_000


class NextWord(LanguageTask):
    """Predict each next word."""

    name = "next_word"
    metric = "perplexity"
    has_lengths = False

    def __init__(self, config: NextWordConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings.

        Args:
            config: corpus and vocabulary.
            trainer: batch size and window length.
            seed: of random window lengths.
        """
        super().__init__()
        self._config = config
        self._trainer = trainer
        self._seed = seed
        self._ids: dict[str, np.ndarray] = {}
        self._windows: ColumnWindows | None = None
        self._tokenizer = "words"

    def read_corpus(self) -> None:
        """Read the text, build the vocabulary, encode the splits."""
        encoded = read_encoded(self, self._config, Kind.TEXT, self._encode_corpus)
        self._ids = encoded.arrays
        self.corpus = facts = encoded.facts["corpus"]
        log.info(
            "corpus %s: %s tokens to train on, %s valid, %s test; vocabulary %s; %.2f %% of test is %s",
            facts["name"],
            *(f"{facts[f'{split}_tokens']:,}" for split in SPLITS),
            f"{len(self.vocabulary):,}",
            100 * encoded.facts["unknown_share"],
            UNK,
        )

    def _encode_corpus(self) -> Encoded:
        corpus = load_text_corpus(self._config.corpus)
        self._tokenizer = corpus.tokenizer
        tokens = {split: getattr(corpus, split) for split in SPLITS}
        if self._vocabulary is None:
            # Penn Treebank and WikiText-2 come with their own <unk>: every word they kept is a word.
            is_cut_already = UNK in tokens["train"]
            self._vocabulary = Vocabulary.build(
                tokens["train"],
                min_count=self._config.min_count or (1 if is_cut_already else MIN_COUNT),
                max_size=self._config.max_vocab or (None if is_cut_already else MAX_VOCAB),
                specials=(EOS, UNK),
            )
        ids = {split: np.array(self.vocabulary.encode([EOS, *tokens[split]]), dtype=np.int32) for split in SPLITS}
        counts = {f"{split}_tokens": len(tokens[split]) for split in SPLITS}
        described = self._describe(corpus.name, {**counts, "vocab_size": len(self.vocabulary)}, ids.values())
        unknown_share = self.vocabulary.unknown_share(ids["test"].tolist())
        return Encoded(ids, {"corpus": described, "unknown_share": unknown_share})

    def train_windows(self, epoch: int) -> ColumnWindows:
        """Columns of the training text, cut into windows."""
        if self._windows is None:
            if self._trainer.bptt_len is None:
                raise ConfigError("task=next_word needs trainer.bptt_len: its text has no end to read to")
            self._windows = ColumnWindows(
                self._ids["train"],
                self._trainer.batch_size,
                self._trainer.bptt_len,
                random_lengths=self._trainer.random_bptt,
                seed=self._seed,
            )
        return self._windows.at_epoch(epoch)

    def token_counts(self) -> Tensor | None:
        """How often each word stands in the training text, (V,); None where no corpus was read."""
        if not self._ids:
            return None
        return torch.from_numpy(np.bincount(self._ids["train"], minlength=len(self.vocabulary)))

    def score_windows(self, split: str, batch_size: int) -> ColumnWindows:
        """One stream, whatever the batch size: more columns would each start with an empty memory."""
        return ColumnWindows(self._ids[split], 1, SCORE_STEPS)

    def baseline_loss(self) -> float:
        """Of saying at each place how frequent the words are."""
        return guessing_nats(self._ids["train"], self._ids["valid"][1:], len(self.vocabulary))

    def encode_prompt(self, prompt: str) -> list[int]:
        """An `<eos>`, then the prompt's words."""
        return self.vocabulary.encode([EOS, *tokenizer(self._tokenizer)(prompt)])

    def unknown_in(self, prompt: str) -> list[str]:
        """Words that the run's vocabulary does not have."""
        return [word for word in tokenizer(self._tokenizer)(prompt) if word not in self.vocabulary]

    def decode(self, ids: list[int]) -> str:
        """Readable text; the `<eos>` before it is no part of it."""
        return join_tokens(self.vocabulary.decode(ids[1:]))

    def dump(self) -> dict[str, object]:
        """The vocabulary, and how a prompt becomes tokens."""
        return {**super().dump(), "tokenizer": self._tokenizer}

    def restore(self, content: dict[str, object]) -> None:
        """Take vocabulary and tokenizer of a finished run."""
        super().restore(content)
        self._tokenizer = str(content.get("tokenizer"))
        try:
            tokenizer(self._tokenizer)
        except ValueError as error:
            raise CheckpointError(f"vocabulary.json is damaged: {error}") from error
