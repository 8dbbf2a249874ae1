"""Words as vectors, texts of different lengths, the order of words.

Shapes: T steps, B texts, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, linear

from rnnlab.cells import LSTM
from rnnlab.cells.reference import _loop
from rnnlab.data import Vocabulary
from rnnlab.lessons import grammar
from rnnlab.lessons.fit import fit
from rnnlab.lessons.languages import train_on_text
from rnnlab.lessons.lesson import Finding, Lesson, Where, first_weights
from rnnlab.lessons.plots import bars, curves, grid
from rnnlab.models import Classifier, LanguageModel
from rnnlab.models.layers import OneHot, build_embedding

GOOD = ("good", "fine", "great", "lovely", "fresh", "warm")
BAD = ("bad", "poor", "awful", "dull", "stale", "cold")
NOUNS = ("food", "soup", "room", "film", "music", "plot")
_CLAUSES = (1, 3)


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
    train_on_text(model, vocab, 800, seed)
    nouns = [*grammar.PLACE_OF]
    table = model.get_parameter("embedding.weight").detach()[vocab.encode(nouns)]
    table = table - table.mean(0)
    alike = cosine_similarity(table[:, None], table[None], dim=-1)
    same = torch.tensor([[grammar.PLACE_OF[a] == grammar.PLACE_OF[b] for b in nouns] for a in nouns])
    other = ~torch.eye(len(nouns), dtype=torch.bool)
    within, between = float(alike[same & other].mean()), float(alike[~same].mean())
    numbers = {
        "largest difference between product and row": difference,
        "numbers of a one-hot vector": vocab_size,
        "numbers of an embedding": 200,
        "cosine of nouns of one place, learned": within,
        "cosine of nouns of different places": between,
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
                "nouns of sky, sea, forest and kitchen",
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
        f"With lengths, padding moves no probability by more than {max(told):.0e}; without, by up to {max(untold):.3f}."
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


class BagOfWords(nn.Module):
    """Mean of word vectors, and a linear layer: what a text says without its order."""

    def __init__(self, vocab_size: int) -> None:
        """Draw the weights."""
        super().__init__()
        self.embedding = build_embedding("learned", vocab_size, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, inputs: Tensor, state: None = None, lengths: Tensor | None = None) -> tuple[Tensor, None]:
        """Score the classes of texts (T, B), padded with 0s past their lengths."""
        assert lengths is not None
        valid = (torch.arange(len(inputs))[:, None] < lengths)[..., None]
        return self.head((self.embedding(inputs) * valid).sum(0) / lengths[:, None]), None


Text = tuple[list[str], int]


def _vocabulary() -> Vocabulary:
    return Vocabulary(["the", "was", ",", "and", "not", ".", *NOUNS, *GOOD, *BAD])


def _batch(vocab: Vocabulary, texts: Sequence[Text]) -> tuple[Tensor, Tensor, Tensor]:
    """Return words <int64>(T, B), padded, with lengths and labels."""
    rows = [torch.tensor(vocab.encode(words)) for words, _ in texts]
    lengths = torch.tensor([len(row) for row in rows])
    return nn.utils.rnn.pad_sequence(rows), lengths, torch.tensor([label for _, label in texts])


def _train(
    model: nn.Module, vocab: Vocabulary, draw: random.Random, make: Callable[[random.Random], Text], steps: int
) -> None:
    def loss(step: int) -> Tensor:
        inputs, lengths, labels = _batch(vocab, [make(draw) for _ in range(64)])
        return cross_entropy(model(inputs, lengths=lengths)[0], labels)

    fit(model, loss, steps=steps, lr=0.01)


@torch.no_grad()
def _chances(model: nn.Module, vocab: Vocabulary, texts: Sequence[Text]) -> Tensor:
    """Return the probability of "pos" for each text."""
    inputs, lengths, _ = _batch(vocab, texts)
    return model(inputs, lengths=lengths)[0].softmax(-1)[:, 1]


def _accuracy(chances: Tensor, texts: Sequence[Text]) -> float:
    labels = torch.tensor([label for _, label in texts])
    return float(((chances > 0.5).long() == labels).double().mean())


def _pair(noun: str, good: str, bad: str) -> tuple[Text, Text]:
    """Return a praise and its opposite, of the same words."""
    return (
        (f"the {noun} was {good} , not {bad} .".split(), 1),
        (f"the {noun} was {bad} , not {good} .".split(), 0),
    )


def _held_out(good: str, bad: str) -> bool:
    """Whether a pair of adjectives is never trained on: a quarter of them."""
    return (GOOD.index(good) + BAD.index(bad)) % 4 == 0


def _one_of_a_pair(draw: random.Random) -> Text:
    while True:
        good, bad = draw.choice(GOOD), draw.choice(BAD)
        if not _held_out(good, bad):
            return draw.choice(_pair(draw.choice(NOUNS), good, bad))


def _reader(name: str, vocab_size: int, hidden_size: int) -> BagOfWords | Classifier:
    """Build the model of this name: a bag of words, or an LSTM."""
    if name == "bag of words":
        return BagOfWords(vocab_size)
    return Classifier(vocab_size, 2, cell="lstm", hidden_size=hidden_size, embedding_size=16, pooling="last")


def _word_order(quick: bool, seed: int) -> Finding:
    """Train a bag of words and an LSTM on praise and blame of the same words; judge both on pairs not seen."""
    vocab = _vocabulary()
    tests = [text for g in GOOD for b in BAD if _held_out(g, b) for noun in NOUNS for text in _pair(noun, g, b)]
    shown = list(_pair("food", "good", "bad"))
    accuracy, said = {}, {}
    for name in ("bag of words", "LSTM"):
        torch.manual_seed(seed)
        model = _reader(name, len(vocab), 16)
        _train(model, vocab, random.Random(seed), _one_of_a_pair, 150)
        accuracy[name] = _accuracy(_chances(model, vocab, tests), tests)
        said[name] = _chances(model, vocab, shown).tolist()
    apart = abs(said["bag of words"][0] - said["bag of words"][1])
    numbers = {
        **{f"accuracy on unseen pairs, {name}": value for name, value in accuracy.items()},
        **{f"P(pos) of the two sentences, {name}": values for name, values in said.items()},
        "difference of the two, bag of words": apart,
    }
    praise, blame = (" ".join(words) for words, _ in shown)
    verdict = (
        f'"{praise}" and "{blame}": the bag of words gives both {said["bag of words"][0]:.2f} for "pos", '
        f"the LSTM {said['LSTM'][0]:.2f} and {said['LSTM'][1]:.2f}; on pairs of adjectives that it never saw it is "
        f"right in {accuracy['LSTM']:.0%}, the bag in {accuracy['bag of words']:.0%}."
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=apart < 1e-6 and accuracy["bag of words"] == 0.5 and accuracy["LSTM"] > 0.95,
        figures=[bars("Accuracy on unseen pairs", accuracy, "chance is 0.5", marked=["LSTM"])],
    )


def _review(draw: random.Random) -> Text:
    """Draw a review of one or three clauses; it is positive if most of them are, a "not" counted."""
    words: list[str] = []
    total = 0
    for place in range(draw.choice(_CLAUSES)):
        is_good, is_denied = draw.random() < 0.5, draw.random() < 0.5
        total += 1 if is_good != is_denied else -1
        words += [*(["and"] if place else []), "the", draw.choice(NOUNS), "was", *(["not"] if is_denied else [])]
        words.append(draw.choice(GOOD if is_good else BAD))
    return [*words, "."], int(total > 0)


def _sentiment(quick: bool, seed: int) -> Finding:
    """Train on made-up reviews with negations, and follow one of them word by word."""
    vocab, steps = _vocabulary(), 250 if quick else 800
    tests = [_review(random.Random(10_000 + row)) for row in range(600)]
    accuracy = {}
    model: nn.Module = nn.Identity()
    for name in ("bag of words", "LSTM"):
        torch.manual_seed(seed)
        model = _reader(name, len(vocab), 24)
        _train(model, vocab, random.Random(seed), _review, steps)
        accuracy[name] = _accuracy(_chances(model, vocab, tests), tests)
    assert isinstance(model, Classifier)
    words = "the food was not good and the soup was not bad and the room was warm .".split()
    with torch.no_grad():
        h, _ = model.recurrent(model.embedding(torch.tensor(vocab.encode(words))[:, None]))
        so_far = model.logits_so_far(h).softmax(-1)[:, 0, 1].tolist()
    numbers = {
        **{f"accuracy, {name}": value for name, value in accuracy.items()},
        "P(pos) after 'was not good', 'was not bad', 'was warm .'": [so_far[4], so_far[10], so_far[-1]],
    }
    verdict = (
        f"The LSTM is right on {accuracy['LSTM']:.1%} of 600 new reviews, a bag of words on "
        f"{accuracy['bag of words']:.1%}; "
        f'P(pos) is {so_far[4]:.2f} after "the food was not good" and {so_far[-1]:.2f} at the end.'
    )
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=accuracy["LSTM"] > 0.9
        and accuracy["LSTM"] > accuracy["bag of words"] + 0.15
        and so_far[4] < 0.5 < so_far[-1],
        figures=[
            grid(
                "P(pos) so far, less one half, word by word",
                [[value - 0.5] for value in so_far],
                "the deeper, the surer",
                rows=words,
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
        where=[Where(OneHot.forward, "scatter_"), Where(build_embedding, "nn.Embedding(")],
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
    "word-order": Lesson(
        title="Word order: good, not bad; bad, not good",
        text=[
            "Two sentences of the same words can say opposite things. A bag of words adds up word vectors. A sum "
            "does not depend on the order, so that it must give both the same answer, however it is trained.",
            "A recurrent network reads one word after the other, and what 'not' does depends on what follows. Both are "
            "trained on a small grammar and judged on pairs of adjectives that they never saw together.",
        ],
        equation="bag: y = W mean(e_w) + b        recurrent: h_t = step(e_t, h_(t-1)),  y = W h_T + b",
        where=[Where(BagOfWords.forward, "self.head("), Where(Classifier.forward, "pooled = ")],
        sources="Pang, Lee & Vaithyanathan 2002 on bags of words; Socher et al. 2013 on negation",
        expected="the bag gives both sentences the same probability and is right on exactly half of the pairs; the "
        "LSTM on more than 95 %",
        measure=_word_order,
    ),
    "sentiment": Lesson(
        title="Many to one: a review becomes a class, word by word",
        text=[
            "A classifier reads a whole text and says one thing about it: its last state goes through a linear "
            "layer and a softmax. The same layer can be asked after every word, which shows when it makes up its "
            "mind.",
            "The reviews are made up: one or three clauses, half of them denied with 'not'; most clauses decide. A "
            "bag of words sees how many times 'not' stands there, but not before which word. Real reviews are "
            "messier: there, bags of words come close to recurrent networks.",
        ],
        equation="P(class | text) = softmax(W h_T + b)",
        where=[Where(Classifier.forward, "return self.head"), Where(Classifier.logits_so_far, "self.head(pooled)")],
        sources="Dai & Le 2015; Socher et al. 2013",
        expected="the LSTM is right on more than 90 %, and at least 15 points above the bag of words",
        measure=_sentiment,
    ),
}
