import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlab.models import Classifier
from rnnlab.models.classifier import POOLINGS

CELLS = ("rnn", "lstm", "gru")
VOCAB = 9
# The largest difference that another order of additions makes in float64 for values of order 1.
FLOAT64 = {"rtol": 0.0, "atol": 1e-13}


def build(cell="lstm", num_classes=3, **arguments):
    torch.manual_seed(0)
    sizes = {"hidden_size": 4, "embedding_size": 5}
    return Classifier(VOCAB, num_classes, cell=cell, **{**sizes, **arguments}).double().eval()


def tokens(num_steps, num_rows, seed=0):
    return torch.randint(VOCAB, (num_steps, num_rows), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_shapes(cell, bidirectional, pooling):
    model = build(cell, bidirectional=bidirectional, pooling=pooling, num_layers=2)
    logits, state = model(tokens(6, 2), None, torch.tensor([6, 3]))
    assert logits.shape == (2, 3)
    h = state[0] if cell == "lstm" else state
    assert h.shape == (4 if bidirectional else 2, 2, 4)


@settings(max_examples=50)
@given(
    cell=st.sampled_from(CELLS),
    pooling=st.sampled_from(POOLINGS),
    bidirectional=st.booleans(),
    num_layers=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    more_padding=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_a_class_does_not_depend_on_padding_or_on_what_stands_beside(
    cell, pooling, bidirectional, num_layers, lengths, more_padding, seed
):
    model = build(cell, pooling=pooling, bidirectional=bidirectional, num_layers=num_layers)
    texts = tokens(max(lengths) + more_padding, len(lengths), seed)
    logits, _ = model(texts, None, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, _ = model(texts[:length, [row]])
        torch.testing.assert_close(logits[[row]], alone, **FLOAT64)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("cell", CELLS)
def test_padding_does_not_matter_in_float32_either(cell, pooling):
    model = build(cell, pooling=pooling, bidirectional=True).float()
    texts, lengths = tokens(12, 3), [12, 1, 7]
    logits, _ = model(texts, None, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        # float32 has 7 digits, and another batch size another order of additions.
        torch.testing.assert_close(logits[[row]], model(texts[:length, [row]])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_gets_no_gradient(pooling):
    model = build(pooling=pooling, bidirectional=True)
    texts = torch.tensor([[1, 2], [1, 8], [1, 8]])  # 8 stands in padding alone
    model(texts, None, torch.tensor([3, 1]))[0].square().sum().backward()
    grad = model.embedding.weight.grad
    assert grad[8].abs().sum() == 0
    assert grad[2].abs().sum() > 0


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_poolings_are_what_they_say(pooling, bidirectional):
    model = build("gru", pooling=pooling, bidirectional=bidirectional)
    text = tokens(5, 1)
    h = model.recurrent(model.embedding(text))[0][:, 0]  # (T, D)
    match pooling:
        case "last":
            expected = torch.cat([h[-1, :4], h[0, 4:]])  # the backward direction ends at the first token
        case "mean":
            expected = sum(h) / 5
        case "max":
            expected = torch.stack([max(feature) for feature in h.T])
        case _:
            scores = (
                torch.tanh(h @ model.attention[0].weight.T + model.attention[0].bias) @ model.attention[2].weight[0]
            )
            shares = scores.exp() / scores.exp().sum()
            expected = sum(share * step for share, step in zip(shares, h, strict=True))
    torch.testing.assert_close(model(text)[0][0], model.head.weight @ expected + model.head.bias, **FLOAT64)


def test_last_reads_the_top_layer_alone():
    model = build(pooling="last", num_layers=2)
    logits, (h, _) = model(tokens(5, 2))
    torch.testing.assert_close(logits, model.head(h[1]), **FLOAT64)


def test_the_order_of_words_matters():
    model = build(pooling="mean")
    text = torch.tensor([[1], [2], [3]])
    assert not torch.allclose(model(text)[0], model(text.flip(0))[0])


def test_no_lengths_means_every_step_counts():
    model, texts = build(pooling="attention"), tokens(4, 2)
    assert model(texts)[0].equal(model(texts, None, torch.tensor([4, 4]))[0])


def test_only_attention_has_parameters_of_its_own():
    names = {pooling: set(build(pooling=pooling).state_dict()) for pooling in POOLINGS}
    own = {"attention.0.weight", "attention.0.bias", "attention.2.weight"}
    assert names["attention"] - names["mean"] == own
    assert names["mean"] == names["max"] == names["last"]


def test_one_hot_vectors_are_as_wide_as_the_vocabulary():
    model = build(embedding="one_hot")
    assert model.recurrent.input_size == VOCAB
    assert model(tokens(3, 2))[0].shape == (2, 3)


def test_dropout_acts_in_training_alone():
    model, texts = build(dropout=0.5), tokens(4, 2)
    assert model(texts)[0].equal(model(texts)[0])
    model.train()
    assert not model(texts)[0].equal(model(texts)[0])


def test_a_uniform_start_bounds_every_weight_and_keeps_the_forget_gates_bias():
    model = build(hidden_size=30, pooling="attention", initialisation="uniform", init_range=0.05, forget_gate_bias=2.0)
    bias = model.recurrent.bias_ih_l0
    assert bias[30:60].tolist() == [2.0] * 30
    with torch.no_grad():
        bias[30:60] = 0
    for name, parameter in model.named_parameters():
        assert 0 < parameter.abs().max() <= 0.05, name


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling must be one of last, mean, max, attention, got 'sum'"):
        build(pooling="sum")


def test_a_single_class_is_refused():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        build(num_classes=1)


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_logits_so_far_are_those_of_a_text_that_ends_there(pooling):
    model = build("gru", pooling=pooling)
    inputs = tokens(7, 2)
    h, _ = model.recurrent(model.embedding(inputs))
    found = model.logits_so_far(h)
    for end in range(1, 8):
        torch.testing.assert_close(found[end - 1], model(inputs[:end])[0], **FLOAT64)
