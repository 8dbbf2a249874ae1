import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlab.models import LanguageModel, detach

CELLS = ("rnn", "lstm", "gru")
VOCAB = 7
# The largest difference that another order of additions makes in float64 for values of order 1.
FLOAT64 = {"rtol": 0.0, "atol": 1e-13}


def build(cell="lstm", **arguments):
    torch.manual_seed(0)
    sizes = {"hidden_size": 5, "embedding_size": 4, "num_layers": 2}
    return LanguageModel(VOCAB, cell=cell, **{**sizes, **arguments}).double().eval()


def tokens(num_steps, num_rows, seed=0):
    return torch.randint(VOCAB, (num_steps, num_rows), generator=torch.Generator().manual_seed(seed))


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def assert_states_close(one, other, **tolerance):
    for a, b in zip(parts(one), parts(other), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_steps", [1, 3])
def test_shapes(cell, num_steps):
    logits, state = build(cell)(tokens(num_steps, 2))
    assert logits.shape == (num_steps, 2, VOCAB)
    assert isinstance(state, tuple) == (cell == "lstm")
    assert all(part.shape == (2, 2, 5) for part in parts(state))


@pytest.mark.parametrize("embedding", ["learned", "one_hot"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_state_carried_from_window_to_window_is_one_long_window(cell, embedding):
    model, text = build(cell, embedding=embedding), tokens(11, 3)
    whole, end = model(text)
    pieces, state = [], None
    for window in text.split([4, 1, 6]):
        logits, state = model(window, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces), whole, **FLOAT64)
    assert_states_close(state, end, **FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_values_cross_a_windows_edge_and_gradients_do_not(cell):
    model, text, cut = build(cell), tokens(8, 2), 3

    def gradients(windows, edges):
        """Gradients of the summed logits, with the graph cut by hand before the steps in `edges`."""
        model.zero_grad()
        state, step, values = None, 0, []
        for window in windows:
            state = detach(state) if step in edges else state
            logits, state = model(window, state)
            values.append(logits.detach())
            logits.square().sum().backward(retain_graph=True)
            step += len(window)
        return torch.cat(values), [p.grad.clone() for p in model.parameters()]

    windowed = gradients(text.split([cut, 8 - cut]), {cut})
    by_hand = gradients(text.split(1), {cut})  # one step a call: backward reaches step by step to the cut
    uncut = gradients(text.split(1), set())
    torch.testing.assert_close(windowed, by_hand, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(windowed[0], uncut[0], **FLOAT64)
    assert any(not torch.allclose(a, b, rtol=1e-6) for a, b in zip(windowed[1], uncut[1], strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_reaches_a_token_of_the_window_before(cell):
    model = build(cell)
    first, second = torch.tensor([[0], [1], [2]]), torch.tensor([[3], [4]])
    _, state = model(first)
    logits, _ = model(second, detach(state))
    logits.sum().backward()
    assert model.embedding.weight.grad.abs().sum(1).gt(0).tolist() == [False] * 3 + [True] * 2 + [False] * 2


@settings(max_examples=40)
@given(
    cell=st.sampled_from(CELLS),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    more_padding=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_predictions_do_not_depend_on_padding_or_on_what_stands_beside(cell, lengths, more_padding, seed):
    model = build(cell)
    num_steps = max(*lengths, 1)
    text = tokens(num_steps + more_padding, len(lengths), seed)
    h_0 = torch.randn(2, len(lengths), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    state = (h_0, h_0 / 2) if cell == "lstm" else h_0
    logits, end = model(text, state, torch.tensor(lengths))
    unmarked, _ = model(text, state)
    for row, length in enumerate(lengths):
        mine = tuple(part[:, [row]] for part in parts(state))
        mine = mine if cell == "lstm" else mine[0]
        if length == 0:
            assert_states_close(tuple(part[:, [row]] for part in parts(end)), parts(mine), rtol=0, atol=0)
            continue
        alone, alone_end = model(text[:length, [row]], mine)
        torch.testing.assert_close(logits[:length, [row]], alone, **FLOAT64)
        torch.testing.assert_close(unmarked[:length, [row]], alone, **FLOAT64)
        assert_states_close(tuple(part[:, [row]] for part in parts(end)), parts(alone_end), **FLOAT64)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_does_not_matter_in_float32_either(cell):
    model, text = build(cell).float(), tokens(9, 3)
    logits, _ = model(text, None, torch.tensor([9, 2, 5]))
    for row, length in enumerate([9, 2, 5]):
        alone, _ = model(text[:length, [row]])
        # float32 has 7 digits, and another batch size another order of additions.
        torch.testing.assert_close(logits[:length, [row]], alone, rtol=1e-5, atol=1e-6)


def test_tied_weights_share_one_matrix_that_is_saved_once():
    model = build(tie_weights=True, embedding_size=5)
    names = [name for name, tensor in model.state_dict().items() if tensor.shape == (VOCAB, 5)]
    assert names == ["embedding.weight"]
    assert "decoder_weight" not in model.state_dict()
    assert sum(p.numel() for p in build(embedding_size=5).parameters()) == VOCAB * 5 + sum(
        p.numel() for p in model.parameters()
    )
    h = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(model.decode(h), h @ model.embedding.weight.T + model.decoder_bias, **FLOAT64)


def test_both_uses_of_a_tied_matrix_train_it():
    model = build(tie_weights=True, embedding_size=5)
    model(torch.tensor([[0]]))[0][0, 0, 3].backward()
    rows = model.embedding.weight.grad.abs().sum(1).gt(0)
    assert rows.tolist() == [token in (0, 3) for token in range(VOCAB)]


@pytest.mark.parametrize("arguments", [{"embedding_size": 4}, {"embedding": "one_hot", "embedding_size": 5}])
def test_tied_weights_of_different_shapes_are_refused(arguments):
    kind, size = arguments.get("embedding", "learned"), arguments["embedding_size"]
    message = (
        "tie_weights needs a learned embedding with embedding_size equal to hidden_size, "
        f"got embedding '{kind}' of {size} and hidden_size 5"
    )
    with pytest.raises(ValueError, match=message):
        build(tie_weights=True, **arguments)


@pytest.mark.parametrize("tie_weights", [False, True])
def test_a_uniform_start_bounds_every_weight(tie_weights):
    sizes = {"hidden_size": 30, "embedding_size": 30, "tie_weights": tie_weights}
    model = build(initialisation="uniform", init_range=0.04, **sizes)
    for name, parameter in model.named_parameters():
        assert 0 < parameter.abs().max() <= 0.04, name


def test_a_uniform_start_keeps_the_forget_gates_bias():
    model = build(initialisation="uniform", init_range=0.04, forget_gate_bias=1.5)
    for layer in (0, 1):
        assert getattr(model.recurrent, f"bias_ih_l{layer}")[5:10].tolist() == [1.5] * 5


def test_one_hot_vectors_are_as_wide_as_the_vocabulary_and_never_dropped():
    model = build(embedding="one_hot", dropout=0.9, num_layers=1).train()
    assert model.recurrent.input_size == VOCAB
    _, state = model(tokens(4, 2))
    _, again = model(tokens(4, 2))
    assert_states_close(state, again, rtol=0, atol=0)


def test_dropout_acts_in_training_alone():
    model, text = build(dropout=0.5), tokens(4, 2)
    assert model(text)[0].equal(model(text)[0])
    model.train()
    assert not model(text)[0].equal(model(text)[0])


def test_dropout_zeroes_embeddings_states_between_layers_and_states_before_the_decoder():
    zeros = []
    model = build(dropout=0.5, hidden_size=50, embedding_size=50).train()
    model.dropout.register_forward_hook(lambda module, args, out: zeros.append((out == 0).double().mean().item()))
    model(tokens(30, 10))
    assert model.recurrent.dropout == 0.5
    assert zeros == pytest.approx([0.5, 0.5], abs=0.02)  # 15,000 draws: 5 standard deviations are 0.02


def test_the_model_keeps_no_state():
    model, text = build(), tokens(4, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, _ = model(text)
    model(tokens(6, 3, seed=1))
    assert model(text)[0].equal(first)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def test_a_state_of_another_batch_size_is_refused_with_both_sizes():
    model = build("gru")
    _, state = model(tokens(2, 3))
    message = r"h_0 must be \(num_layers=2, batch=2, hidden_size=5\), got \(2, 3, 5\); was the state kept from another"
    with pytest.raises(ValueError, match=message):
        model(tokens(2, 2), state)


def test_a_length_beyond_the_window_is_refused():
    with pytest.raises(ValueError, match="lengths must be between 0 and the input's 3 steps, got 4"):
        build()(tokens(3, 2), None, torch.tensor([3, 4]))


@pytest.mark.parametrize("arguments", [{}, {"tie_weights": True, "embedding_size": 5}, {"embedding": "one_hot"}])
def test_nats_of_hidden_states_are_those_of_the_logits(arguments):
    model, text, targets = build(dropout=0.5, **arguments).train(), tokens(6, 3), tokens(6, 3, seed=1)
    targets[2:, 1] = -100
    torch.manual_seed(3)
    h, state = model.hidden(text)
    nats = model.nats(h, targets)
    torch.manual_seed(3)
    logits, end = model(text)
    assert_states_close(state, end, rtol=0, atol=0)
    exact = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(nats, exact, rtol=1e-13, atol=0.0)
    parameters = [*model.parameters()]
    for got, wanted in zip(*(torch.autograd.grad(loss, parameters) for loss in (nats, exact)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cutoffs", [None, [2], [1, 4]])
def test_an_adaptive_decoder_gives_log_probabilities_and_their_loss(cutoffs):
    model, text, targets = (
        build(decoder="adaptive", hidden_size=16, cutoffs=cutoffs),
        tokens(6, 3),
        tokens(6, 3, seed=1),
    )
    targets[2:, 1] = -100
    scores, _ = model(text)
    assert scores.shape == (6, 3, VOCAB)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(6, 3, dtype=torch.float64), rtol=1e-13, atol=0.0)
    h, _ = model.hidden(text)
    nats = model.nats(h, targets)
    counted = targets != -100
    picked = scores[counted].gather(-1, targets[counted][:, None])
    torch.testing.assert_close(nats, -picked.sum(), rtol=1e-13, atol=0.0)
    assert float(model.nats(h, torch.full_like(targets, -100)).detach()) == 0
    assert model.decoder_weight is None
    assert sum(p.numel() for p in model.adaptive.parameters()) < VOCAB * 16 + 16 * 16


def test_an_adaptive_decoder_keeps_float32_under_autocast():
    model, text = build(decoder="adaptive", hidden_size=16).float(), tokens(6, 3)
    exact = model(text)[0]
    with torch.autocast("cpu", torch.bfloat16):
        scores, _ = model(text)
        h, _ = model.hidden(text)
        nats = model.nats(h, text)
    assert scores.dtype == nats.dtype == torch.float32
    # Hidden states are rounded at 2^-9 on their way; the decoder adds nothing to that.
    torch.testing.assert_close(scores, exact, rtol=0.0, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "half"}, "decoder must be full or adaptive, got 'half'"),
        ({"decoder": "adaptive", "tie_weights": True, "embedding_size": 5}, "tie_weights needs decoder 'full'"),
        ({"cutoffs": [2]}, "cutoffs are of decoder 'adaptive', got [2] for 'full'"),
        (
            {"decoder": "adaptive", "cutoffs": [7]},
            "cutoffs must rise from at least 1 to below the 7 token ids, got [7]",
        ),
        ({"decoder": "adaptive", "cutoffs": [3, 2]}, "below the 7 token ids, got [3, 2]"),
        (
            {"decoder": "adaptive", "cutoffs": [2, 4]},
            "a decoder with 2 cutoffs needs hidden_size of at least 16, got 5; give fewer cutoffs",
        ),
    ],
)
def test_decoders_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(**arguments)
