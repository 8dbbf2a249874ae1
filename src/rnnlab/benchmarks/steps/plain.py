"""The training loops that people write with torch alone: what rnnlab's step is held against.

Nothing of rnnlab runs here. `tuned` changes what an informed user would: a fused optimizer (and, in the worker, the
allocator).

Shapes: T steps, B rows, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader

from rnnlab.benchmarks.steps.cases import TrainCase
from rnnlab.benchmarks.steps.feed import Feed
from rnnlab.training.parts import Part, nobody_asks

_LAYERS: dict[str, type[nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
NO_TARGET = -100


class PlainLanguageModel(nn.Module):
    """Embedding, nn.LSTM or nn.GRU, nn.Linear."""

    def __init__(self, case: TrainCase, vocab_size: int, dropout: float) -> None:
        """Build the model."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, case.embedding_size)
        between = dropout if case.num_layers > 1 else 0.0
        self.recurrent = _LAYERS[case.cell](case.embedding_size, case.hidden_size, case.num_layers, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(case.hidden_size, vocab_size)
        if case.tie_weights:
            self.decoder.weight = self.embedding.weight

    def forward(self, inputs: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        """Return logits (T B, V) and the state."""
        embedded = self.dropout(self.embedding(inputs))
        output, hidden = self.recurrent(embedded, hidden)
        decoded = self.decoder(self.dropout(output))
        return decoded.view(-1, decoded.shape[-1]), hidden


class PlainClassifier(nn.Module):
    """Embedding, a PackedSequence through nn.LSTM or nn.GRU, the last hidden state, nn.Linear."""

    def __init__(self, case: TrainCase, vocab_size: int, num_classes: int, dropout: float) -> None:
        """Build the model."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, case.embedding_size)
        self.recurrent = _LAYERS[case.cell](case.embedding_size, case.hidden_size, case.num_layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(case.hidden_size, num_classes)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, C)."""
        embedded = self.dropout(self.embedding(inputs))
        packed: PackedSequence = pack_padded_sequence(embedded, lengths, enforce_sorted=False)
        _, hidden = self.recurrent(packed)
        h_n = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.head(self.dropout(h_n[-1]))


class PlainLoop:
    """Trains step by step.

    Attributes:
        model: what is trained.
        part: told which part of a step runs.
    """

    def __init__(self, case: TrainCase, feed: Feed, *, dropout: float, fused: bool) -> None:
        """Build model and optimizer; weights come by `load`."""
        vocab_size, num_classes = feed.sizes.tolist()
        self._case, self._feed = case, feed
        self.part: Part = nobody_asks
        if case.task == "sentiment":
            self.model: nn.Module = PlainClassifier(case, vocab_size, num_classes, dropout)
        else:
            self.model = PlainLanguageModel(case, vocab_size, dropout)
        kind = torch.optim.SGD if case.optimizer == "sgd" else torch.optim.Adam
        more: dict[str, Any] = {"fused": True} if fused else {}
        self.optimizer = kind(self.model.parameters(), lr=case.lr, **more)
        self._batches = self._endless()
        self._hidden: Any = None
        self._read = torch.zeros(1)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of rnnlab's model of the same case."""
        renamed = {
            name.replace("decoder_weight", "decoder.weight").replace("decoder_bias", "decoder.bias"): tensor
            for name, tensor in weights.items()
        }
        if self._case.tie_weights:
            renamed["decoder.weight"] = renamed["embedding.weight"]
        self.model.load_state_dict(renamed)

    def step(self) -> float:
        """Make one optimizer update; return the mean loss, nats per target."""
        with self.part("data"):
            inputs, targets, lengths, is_new = next(self._batches)
        self.optimizer.zero_grad()
        with self.part("forward"):
            if self._case.task == "sentiment":
                logits = self.model(inputs, lengths)
            else:
                # Start each batch with an empty memory; else cut the history, or backward reaches to the very start.
                self._hidden = None if is_new else repackage_hidden(self._hidden)
                logits, self._hidden = self.model(inputs, self._hidden)
            loss = functional.cross_entropy(logits, targets.reshape(-1))
        with self.part("backward"):
            loss.backward()
        with self.part("clip"):
            nn.utils.clip_grad_norm_(self.model.parameters(), self._case.clip_grad_norm)
        with self.part("optimizer"):
            self.optimizer.step()
        self._read = lengths if self._case.task == "sentiment" else targets != NO_TARGET
        return loss.item()

    def num_tokens(self) -> int:
        """Return the tokens that the last step read."""
        return int(self._read.sum())

    def _endless(self) -> Iterator[tuple[Tensor, Tensor, Tensor, bool]]:
        while True:
            match self._case.task:
                case "next_word":
                    yield from self._columns()
                case "sentiment":
                    for inputs, lengths, labels in self._loader(_collate_texts):
                        yield inputs, labels, lengths, True
                case _:
                    yield from self._tune_windows()

    def _columns(self) -> Iterator[tuple[Tensor, Tensor, Tensor, bool]]:
        """Cut a text into B columns and those into windows."""
        data, (batch_size, bptt_len) = (
            torch.from_numpy(self._feed.tokens).long(),
            (self._case.batch_size, self._bptt_len),
        )
        # The last token is a target alone, and each column's last target the next one's first input.
        steps = (len(data) - 1) // batch_size
        inputs = data[: steps * batch_size].view(batch_size, -1).t().contiguous()
        targets = data[1 : steps * batch_size + 1].view(batch_size, -1).t().contiguous()
        nothing = torch.empty(0)
        for begin in range(0, steps, bptt_len):
            yield inputs[begin : begin + bptt_len], targets[begin : begin + bptt_len], nothing, begin == 0

    def _tune_windows(self) -> Iterator[tuple[Tensor, Tensor, Tensor, bool]]:
        """Pad tunes to the longest of their batch, cut it into windows; the loss leaves the padding out."""
        for inputs, targets in self._loader(_collate_tunes):
            for begin in range(0, len(inputs), self._bptt_len):
                window = slice(begin, begin + self._bptt_len)
                yield inputs[window], targets[window], torch.empty(0), begin == 0

    def _loader(self, collate: Any) -> DataLoader[Any]:
        """Return torch's loader over the same batches as rnnlab's."""
        sequences = [torch.from_numpy(sequence).long() for sequence in self._feed.sequences]
        classes = self._feed.classes.tolist() or [0] * len(sequences)
        batches = np.split(self._feed.rows, range(self._case.batch_size, len(self._feed.rows), self._case.batch_size))
        dataset: Any = list(zip(sequences, classes, strict=True))
        return DataLoader(dataset, batch_sampler=[batch.tolist() for batch in batches], collate_fn=collate)

    @property
    def _bptt_len(self) -> int:
        assert self._case.bptt_len is not None, "only whole texts are read without"
        return self._case.bptt_len


def repackage_hidden(hidden: Any) -> Any:
    """Cut the state's history."""
    return hidden.detach() if isinstance(hidden, Tensor) else tuple(repackage_hidden(part) for part in hidden)


def _collate_texts(batch: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids (T, B), lengths (B,) and labels (B,)."""
    texts = [text for text, _ in batch]
    lengths = torch.tensor([len(text) for text in texts])
    return pad_sequence(texts), lengths, torch.tensor([label for _, label in batch])


def _collate_tunes(batch: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, each (T, B); padded targets do not count."""
    tunes = [tune for tune, _ in batch]
    inputs = pad_sequence([tune[:-1] for tune in tunes])
    return inputs, pad_sequence([tune[1:] for tune in tunes], padding_value=NO_TARGET)
