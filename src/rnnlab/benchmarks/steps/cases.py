"""What is trained: models, batches and optimizers of which many have been written. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainCase:
    """One model on one kind of data.

    Attributes:
        name: as in --cases.
        task: next_word, sentiment or music.
        corpus: what `--data corpus` reads.
        cell: lstm or gru.
        vocab_size: V, of made-up data; a corpus brings its own.
        embedding_size: E.
        hidden_size: H.
        num_layers: recurrent layers.
        tie_weights: whether the decoder shares the embedding matrix.
        dropout: share zeroed of embeddings, between layers and before the decoder, while time is taken.
        batch_size: B.
        bptt_len: steps of a window; None: whole texts.
        max_len: tokens of a text at most.
        optimizer: sgd or adam.
        lr: learning rate.
        clip_grad_norm: largest global gradient norm.
    """

    name: str
    task: str
    corpus: str
    cell: str
    vocab_size: int
    embedding_size: int
    hidden_size: int
    num_layers: int
    batch_size: int
    bptt_len: int | None
    optimizer: str
    lr: float
    clip_grad_norm: float
    tie_weights: bool = False
    dropout: float = 0.0
    max_len: int = 400


def _words(
    name: str, corpus: str, vocab_size: int, hidden_size: int, *, tie_weights: bool, dropout: float = 0.5
) -> TrainCase:
    # lr 20, clipped at 0.25: those of the word language models of pytorch/examples, whose loss is a window's mean too.
    return TrainCase(
        name=name,
        task="next_word",
        corpus=corpus,
        cell="lstm",
        vocab_size=vocab_size,
        embedding_size=hidden_size,
        hidden_size=hidden_size,
        num_layers=2,
        tie_weights=tie_weights,
        dropout=dropout,
        batch_size=20,
        bptt_len=35,
        optimizer="sgd",
        lr=20.0,
        clip_grad_norm=0.25,
    )


def _texts(cell: str) -> TrainCase:
    return TrainCase(
        name=f"sentiment_{cell}",
        task="sentiment",
        corpus="imdb",
        cell=cell,
        vocab_size=20_000,
        embedding_size=200,
        hidden_size=256,
        num_layers=1,
        dropout=0.4,
        batch_size=64,
        bptt_len=None,
        optimizer="adam",
        lr=1e-3,
        clip_grad_norm=1.0,
    )


def _tunes(cell: str) -> TrainCase:
    return TrainCase(
        name=f"music_{cell}",
        task="music",
        corpus="trad-tunes",
        cell=cell,
        vocab_size=96,
        embedding_size=64,
        hidden_size=512,
        num_layers=2,
        dropout=0.2,
        batch_size=32,
        bptt_len=128,
        optimizer="adam",
        lr=1e-3,
        clip_grad_norm=1.0,
        max_len=2000,
    )


CASES = {
    case.name: case
    for case in (
        _words("wikitext2_200", "wikitext-2", 33_278, 200, tie_weights=True, dropout=0.2),
        _words("wikitext2_650", "wikitext-2", 33_278, 650, tie_weights=True),
        _words("ptb_650", "ptb", 10_000, 650, tie_weights=False),
        _texts("lstm"),
        _texts("gru"),
        _tunes("lstm"),
        _tunes("gru"),
    )
}
"""By name: word models small and large, the medium one of Zaremba et al. 2014 (untied), reviews, tunes by character."""

CONTENDERS = {
    "plain": "the loop people write: torch.nn, default optimizer and allocator, clip_grad_norm_, PackedSequence",
    "tuned": "the same with a fused optimizer and an allocator that keeps freed memory",
    "rnnlab": "this package's trainer, float32",
    "bf16": "the same with trainer.precision=bf16",
}
"""Who runs each case, one phrase each; the first of those asked for is what the others are compared with."""
