"""Words as vectors, texts of different lengths.

Shapes: T steps, B texts, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, linear

from rnnlab.cells import LSTM
from rnnlab.cells.reference import _loop
from rnnlab.lessons import grammar
from rnnlab.lessons.languages import train_on_text
from rnnlab.lessons.lesson import Finding, Lesson, Where, first_weights
from rnnlab.lessons.plots import curves, grid
from rnnlab.models import Classifier, LanguageModel
from rnnlab.models.layers import OneHot, build_embedding


def _one_hot(quick: bool, seed: int) -> Finding:
    """Hold W_ih times a one-hot vector against a row of a table, and look at what a trained table has learned."""
    vocab_size = 10_000
    tokens = torch.randint(0, vocab_size, (20, 8))
    layer = LSTM(vocab_size, 4)
    weights = first_weights(layer)
    by_product = linear(OneHot(vocab_size)(tokens), weights.weight_ih)
    by_row = nn.functional.embedding(tokens, weights.weight_ih.T.contiguous())
    difference = float((by_product - by_row).abs().max())
    vocab = grammar.vocabulary()
    torch.manual_seed(seed)
    model = LanguageModel(len(vocab), cell="lstm", hidden_size=32, embedding_size=16)
    # With fewer, two places are still one: what tells them apart is learned last.
    train_on_text(model, vocab, 1200 if quick else 1600, seed)
    nouns = [*grammar.PLACE_OF]
    table = model.get_parameter("embedding.weight").detach()[vocab.encode(nouns)]
    table = table - table.mean(0)
    alike = cosine_similarity(table[:, None], table[None], dim=-1)
    same = torch.tensor([[grammar.PLACE_OF[a] == grammar.PLACE_OF[b] for b in nouns] for a in nouns])
    other = ~torch.eye(len(nouns), dtype=torch.bool)
    within, between, nearest = float(alike[same & other].mean()), float(alike[~same].mean()), float(alike[~same].max())
    numbers = {
        "largest difference between product and row": difference,
        "numbers of a one-hot vector": vocab_size,
        "numbers of an embedding": 200,
        "cosine of nouns of one place, learned": within,
        "cosine of nouns of different places": between,
        "largest cosine of nouns of different places": nearest,
        "cosine of any two one-hot vectors": 0,
    }
    verdict = (
        f"A product with a one-hot vector and a row of the table differ by {difference:g}; trained, nouns of one "
        f"place have cosine {within:.2f}, nouns of different places {between:.2f}, where one-hot vectors always have "
        "0."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=difference == 0 and within > between + 0.3,
        figures=[
            grid(
                "Cosine of learned vectors, less their mean",
                alike.tolist(),
                "across and down: nouns of sky, sea, forest and kitchen, three of each",
                rows=nouns,
            )
        ],
    )


def _variable_lengths(quick: bool, seed: int) -> Finding:
    """Classify texts alone and in padded batches."""
    model = Classifier(50, 2, cell="lstm", hidden_size=24, embedding_size=16, pooling="last").eval()
    lengths = torch.tensor([3, 12, 1, 7, 20, 5])
    texts = [torch.randint(0, 50, (int(length),)) for length in lengths]
    with torch.no_grad():
        alone = torch.cat([model(one[:, None])[0] for one in texts]).softmax(-1)[:, 1]
        paddings, told, untold = [0, 5, 20, 80], [], []
        for padding in paddings:
            padded = torch.randint(0, 50, (20 + padding, len(texts)))  # what stands there must not matter
            for row, one in enumerate(texts):
                padded[: len(one), row] = one
            told.append(float((model(padded, lengths=lengths)[0].softmax(-1)[:, 1] - alone).abs().max()))
            untold.append(float((model(padded)[0].softmax(-1)[:, 1] - alone).abs().max()))
    wasted = 1 - int(lengths.sum()) / (20 * len(texts))
    numbers = {
        "steps of padding after the longest text": [float(one) for one in paddings],
        "change of a probability, lengths told": told,
        "change of a probability, lengths not told": untold,
        "share of padding in the tightest batch": wasted,
    }
    verdict = (
        f"With lengths, padding moves no probability by more than {max(told):.1g}; without, by up to {max(untold):.3f}."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        # float32: a matrix product may round differently for another batch size.
        holds=max(told) < 1e-6 and min(untold) > 1e-3,
        figures=[
            curves(
                "Largest change of a probability against the text alone",
                paddings,
                {"lengths told": told, "not told": untold},
                "across: steps of padding; up: change",
                dots=True,
            )
        ],
    )


LESSONS = {
    "one-hot-vs-embedding": Lesson(
        title="One-hot vectors and embeddings: a product that need not be made",
        text=[
            "A one-hot vector has a 1 at the word's place. Multiplied with a matrix it picks a column. So a layer "
            "that reads one-hot vectors has a vector for each word already, and reading that row is all there is to "
            "an embedding.",
            "What differs is the width, and what can be learned: all one-hot vectors are at right angles. Learned "
            "vectors of words that are used alike come to lie together. The language here has nouns of four places, "
            "such as 'the clouds are in the sky'.",
        ],
        equation="W_ih onehot(w) = column w of W_ih",
        where=[Where(OneHot.forward, "scatter_"), Where(build_embedding, "Embedding(")],
        sources="Elman 1990; Bengio et al. 2003; Mikolov et al. 2013",
        expected="product and row are equal, and the mean cosine of nouns of one place is at least 0.3 above that of "
        "others",
        measure=_one_hot,
    ),
    "variable-lengths": Lesson(
        title="Variable lengths: padding that no prediction depends on",
        text=[
            "Texts of different lengths are read side by side, the shorter ones filled up. A network that does not "
            "know where a text ends reads the filling too, and its last state is a state after nonsense.",
            "Told the lengths, it keeps each row's state from its last word on. Then a text's prediction is the "
            "same alone and in any batch.",
        ],
        equation="h_t = step(x_t, h_(t-1)) if t < length else h_(t-1)",
        where=[Where(_loop, "alive = "), Where(_loop, "torch.where(alive, new, old)")],
        sources="the convention of PackedSequence in torch.nn; Sutskever, Vinyals & Le 2014 on batches of one length",
        expected="with lengths no probability moves by 1e-6, and without them some move by more than 0.001",
        measure=_variable_lengths,
    ),
}
