"""task=sentiment: read a whole text, give its class. Two or more classes; accuracy chooses the best checkpoint."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.config import ModelConfig, SentimentConfig, TrainerConfig, Truncate
from rnnlab.data import PAD, UNK, SequenceBatches, Vocabulary
from rnnlab.data.corpora import Kind, load_labelled_texts
from rnnlab.data.encoded import Encoded
from rnnlab.data.progress import bar
from rnnlab.data.ragged import Ragged, from_arrays, pack_texts, to_arrays, unpack_texts
from rnnlab.data.tokens import review_tokens
from rnnlab.data.windows import Window
from rnnlab.errors import CheckpointError, DataError, DivergedError
from rnnlab.evaluation.baselines import guessing_nats
from rnnlab.evaluation.scores import Classification, Classified, CrossEntropy
from rnnlab.generation.choosing import NOT_FINITE
from rnnlab.models import Classifier
from rnnlab.tasks.base import SPLITS, Scores, Task, log, stack_settings
from rnnlab.tasks.encoded import read_encoded


class ClassScores:
    """Loss, accuracy, macro-F1 and the confusion matrix."""

    def __init__(self, label_names: list[str]) -> None:
        """Start empty."""
        self._entropy = CrossEntropy()
        self._label_names = label_names
        self.classes = Classification(len(label_names))
        self._seen: list[tuple[Tensor, Tensor]] = []

    def add(self, outputs: Tensor, window: Window, nats: Tensor) -> None:
        """Count one batch."""
        self._entropy.add_sum(nats, window.num_targets)
        self.classes.add(outputs, window.targets)
        self._seen.append((window.targets, outputs.detach().float().softmax(-1)))

    def results(self) -> dict[str, float]:
        """`loss` in nats per text, `accuracy` and `macro_f1` from 0 to 1."""
        return {"loss": self._entropy.nats, "accuracy": self.classes.accuracy, "macro_f1": self.classes.macro_f1}

    def details(self) -> dict[str, Any]:
        """The confusion matrix, a row for each true class."""
        return {"labels": self._label_names, "confusion": self.classes.confusion.tolist()}

    def classified(self) -> Classified:
        """Every example's class, and the probabilities it was given."""
        targets, probabilities = (torch.cat(parts).cpu().numpy() for parts in zip(*self._seen, strict=True))
        return Classified(self._label_names, targets, probabilities)


class Sentiment(Task):
    """Classify whole texts."""

    name = "sentiment"
    metric = "accuracy"
    higher_is_better = True

    def __init__(self, config: SentimentConfig, trainer: TrainerConfig, seed: int) -> None:
        """Keep the settings.

        Args:
            config: corpus, columns, truncation and vocabulary.
            trainer: batch size.
            seed: of the order of texts.
        """
        super().__init__()
        self._config = config
        self._trainer = trainer
        self._seed = seed
        self._ids: dict[str, Ragged] = {}
        self._classes: dict[str, np.ndarray] = {}
        self._shown: list[tuple[str, str]] = []
        self._batches: SequenceBatches | None = None
        self.label_names: list[str] = []

    def read_corpus(self) -> None:
        """Read the texts, build the vocabulary, encode the splits."""
        encoded = read_encoded(self, self._config, Kind.LABELLED, self._encode_corpus)
        self._ids = {split: from_arrays(encoded.arrays, split) for split in SPLITS}
        self._classes = {split: encoded.arrays[f"{split}_classes"] for split in SPLITS}
        labels = [self.label_names[index] for index in self._classes["valid"].tolist()]
        self._shown = list(zip(unpack_texts(from_arrays(encoded.arrays, "shown")), labels, strict=True))
        self.corpus = encoded.facts["corpus"]
        for note in encoded.facts["notes"]:
            log.info("%s", note)
        self._report()

    def _encode_corpus(self) -> Encoded:
        corpus = load_labelled_texts(
            self._config.corpus, text_column=self._config.text_column, label_column=self._config.label_column
        )
        tokens = {
            split: [review_tokens(text) for text in bar(getattr(corpus, split).texts, f"reading {split}", "text")]
            for split in SPLITS
        }
        if self._vocabulary is None:
            self._vocabulary = Vocabulary.build(
                chain.from_iterable(tokens["train"]),
                min_count=self._config.min_count,
                max_size=self._config.max_vocab,
                specials=(PAD, UNK),
            )
            self.label_names = list(corpus.label_names)
        elif self.label_names != list(corpus.label_names):
            raise DataError(f"{corpus.name} has labels {corpus.label_names}, the run was trained on {self.label_names}")
        class_of = {label: index for index, label in enumerate(self.label_names)}
        ids, classes = {}, {}
        for split in SPLITS:
            # Found now and not when the split is first scored, perhaps after hours of training.
            for text, words in zip(getattr(corpus, split).texts, tokens[split], strict=True):
                if not words:
                    raise DataError(f"{corpus.name}: no word to read in {text[:40]!r}, a text of {split}; remove it")
            ids[split] = Ragged.of(map(self._encode, tokens[split]))
            classes[split] = np.array([class_of[label] for label in getattr(corpus, split).labels])
        longest = self._config.max_len
        cut = 0 if longest is None else sum(len(text) > longest for text in tokens["train"])
        counts: dict[str, Any] = {f"{split}_texts": len(ids[split]) for split in SPLITS}
        counts |= {
            "labels": self.label_names,
            "vocab_size": len(self.vocabulary),
            "truncated_share": cut / len(tokens["train"]),
        }
        described = self._describe(corpus.name, counts, (a for s in SPLITS for a in (*ids[s], classes[s])))
        arrays = to_arrays({**ids, "shown": pack_texts(corpus.valid.texts)})
        arrays |= {f"{split}_classes": classes[split] for split in SPLITS}
        return Encoded(arrays, {"corpus": described, "notes": list(corpus.notes)})

    def build_model(self, config: ModelConfig) -> nn.Module:
        """Build a classifier for this vocabulary and these labels."""
        return Classifier(
            len(self.vocabulary),
            len(self.label_names),
            bidirectional=config.bidirectional,
            embedding=config.embedding.value,
            embedding_size=config.embedding_size,
            pooling=config.pooling.value,
            **stack_settings(config),
        )

    def train_windows(self, epoch: int) -> SequenceBatches:
        """Batches of texts of like length."""
        if self._batches is None:
            self._batches = SequenceBatches(
                self._ids["train"], self._classes["train"], self._trainer.batch_size, shuffle=True, seed=self._seed
            )
        return self._batches.at_epoch(epoch)

    def score_windows(self, split: str, batch_size: int) -> SequenceBatches:
        """Texts in order of length."""
        return SequenceBatches(self._ids[split], self._classes[split], batch_size)

    def nats(self, model: nn.Module, outputs: Tensor, window: Window) -> Tensor:
        """Summed cross-entropy of the classes; logits (B, C)."""
        return functional.cross_entropy(outputs.float(), window.targets, reduction="sum")

    def baseline_loss(self) -> float:
        """Of saying for each text how frequent the classes are."""
        return guessing_nats(self._classes["train"], self._classes["valid"], len(self.label_names))

    def new_scores(self) -> ClassScores:
        """Empty scores."""
        return ClassScores(self.label_names)

    def hits(self, outputs: Tensor, window: Window) -> Tensor:
        """Texts put into their own class."""
        return (outputs.argmax(-1) == window.targets).sum()

    def measures(self, loss: float, hit_share: float) -> dict[str, float]:
        """Accuracy on the texts trained on, dropout included."""
        return {"accuracy": hit_share}

    def classified(self, scores: Scores) -> Classified | None:
        """What was said of every text."""
        return scores.classified() if isinstance(scores, ClassScores) else None

    @torch.no_grad()
    def predict(self, model: nn.Module, texts: list[str]) -> list[dict[str, Any]]:
        """Give each text's class.

        Returns:
            For each text: text, label, probabilities by label, tokens read, and how many of them were unknown.

        Raises:
            DataError: a text has no token.
            DivergedError: the model computes no numbers.
        """
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        predictions = []
        try:
            # One text a call: what stands beside a text cannot change its numbers, not even in the last bit.
            for number, text in enumerate(texts, 1):
                ids = self.encode_text(text, number)
                logits, _ = model(torch.from_numpy(ids).long()[:, None].to(device))
                if not logits.isfinite().all():
                    raise DivergedError(NOT_FINITE)
                shares = logits[0].double().softmax(-1).tolist()
                predictions.append(
                    {
                        "text": text,
                        "label": self.label_names[max(range(len(shares)), key=shares.__getitem__)],
                        "probabilities": dict(zip(self.label_names, shares, strict=True)),
                        "tokens": len(ids),
                        "unknown_tokens": int((ids == self.vocabulary.unk_id).sum()),
                    }
                )
        finally:
            model.train(was_training)
        return predictions

    def encode_text(self, text: str, number: int) -> np.ndarray:
        """Ids of one text as the model reads it, cut to `task.max_len`; an error calls it text `number`.

        Raises:
            DataError: the text has no token.
        """
        ids = self._encode(review_tokens(text))
        if len(ids) == 0:
            raise DataError(f"text {number} has no word to read: {text[:40]!r}")
        return ids

    def samples(self, model: nn.Module, count: int, length: int, seed: int) -> list[str]:
        """Held-out texts with what the model says of them."""
        if not self._shown:
            return []
        chosen = np.random.default_rng(seed).choice(len(self._shown), min(count, len(self._shown)), replace=False)
        lines = []
        for index in chosen.tolist():
            text, label = self._shown[index]
            said = self.predict(model, [text])[0]
            share = said["probabilities"][said["label"]]
            lines.append(f"says {said['label']} ({share:.0%}), is {label}\n{text[: length * 5]}")
        return lines

    def dump(self) -> dict[str, Any]:
        """Vocabulary and labels."""
        return {**super().dump(), "labels": self.label_names}

    def restore(self, content: dict[str, Any]) -> None:
        """Take vocabulary and labels of a finished run."""
        super().restore(content)
        labels = content.get("labels")
        if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(label, str) for label in labels):
            raise CheckpointError(f"vocabulary.json needs a list of two or more labels, got {labels!r}")
        self.label_names = labels

    def _encode(self, tokens: list[str]) -> np.ndarray:
        longest = self._config.max_len
        if longest is not None and len(tokens) > longest:
            tokens = tokens[:longest] if self._config.truncate is Truncate.first else tokens[-longest:]
        return np.array(self.vocabulary.encode(tokens), dtype=np.int32)

    def _report(self) -> None:
        facts, longest = self.corpus, self._config.max_len
        log.info(
            "corpus %s: %s texts to train on, %s valid, %s test; labels %s; vocabulary %s",
            facts["name"],
            *(f"{facts[f'{split}_texts']:,}" for split in SPLITS),
            ", ".join(self.label_names),
            f"{len(self.vocabulary):,}",
        )
        if facts["truncated_share"]:
            log.info(
                "%.1f %% of the training texts are longer than task.max_len=%d: their %s %d tokens are read",
                100 * facts["truncated_share"],
                longest,
                self._config.truncate.value,
                longest,
            )
