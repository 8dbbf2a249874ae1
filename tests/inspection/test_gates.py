"""Gates read in one product a layer equal those of the step-by-step equations."""

import pytest
import torch

from rnnlab.inspection.gates import gate_activations, saturation
from rnnlab.models import Classifier, LanguageModel


def lstm_gates_step_by_step(stack, x, layer, lengths, row, reverse):
    """The forget gate of one row, step by step from the equations, in the order of time."""
    weights = stack.layer_weights(layer, int(reverse))
    h = c = torch.zeros(stack.hidden_size, dtype=x.dtype)
    steps = range(lengths[row])
    forget, outputs = {}, {}
    for t in reversed(steps) if reverse else steps:
        a = weights.weight_ih @ x[t, row] + weights.bias_ih + weights.weight_hh @ h + weights.bias_hh
        i, f, g, o = a.chunk(4)
        forget[t] = f.sigmoid()
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs[t] = h
    return torch.stack([forget[t] for t in steps]), torch.stack([outputs[t] for t in steps])


def test_lstm_gates_equal_the_equations_in_both_directions_and_with_lengths():
    torch.manual_seed(0)
    model = Classifier(9, 2, cell="lstm", hidden_size=5, embedding_size=4, bidirectional=True).double()
    inputs, lengths = torch.randint(9, (6, 3)), torch.tensor([6, 2, 4])
    found = gate_activations(model, inputs, lengths)
    x = model.embedding(inputs)
    valid = torch.arange(6)[:, None] < lengths
    for suffix, reverse in (("", False), ("_reverse", True)):
        forget = torch.zeros(6, 3, 5, dtype=torch.float64)
        for row in range(3):
            values, _ = lstm_gates_step_by_step(model.recurrent, x, 0, lengths.tolist(), row, reverse)
            forget[: lengths[row], row] = values
        # the same sums in another order: rounding of a few float64 steps
        torch.testing.assert_close(found[f"layer_0{suffix}/forget"], forget[valid], rtol=0, atol=1e-12)


def test_a_gru_is_rebuilt_from_its_gates():
    torch.manual_seed(0)
    model = LanguageModel(7, cell="gru", hidden_size=4, embedding_size=3, num_layers=2).double()
    inputs = torch.randint(7, (5, 2))
    found = gate_activations(model, inputs)
    y, _ = model.recurrent(model.embedding(inputs))
    z, n = (found[f"layer_1/{gate}"].view(5, 2, 4) for gate in ("update", "new"))
    before = torch.cat([torch.zeros(1, 2, 4, dtype=torch.float64), y[:-1]])
    torch.testing.assert_close((1 - z) * n + z * before, y, rtol=0, atol=1e-12)


def test_an_rnn_shows_its_hidden_units():
    model = LanguageModel(7, cell="rnn", hidden_size=4, embedding_size=3)
    found = gate_activations(model, torch.randint(7, (5, 2)))
    assert {name: tuple(values.shape) for name, values in found.items()} == {"layer_0/hidden": (10, 4)}


def test_saturation_counts_the_ends_of_sigmoid_gates_only():
    shares = saturation({"layer_0/forget": torch.tensor([0.05, 0.5, 0.95, 0.99]), "layer_0/cell": torch.tensor([1.0])})
    assert shares == pytest.approx({"layer_0/forget_left": 0.25, "layer_0/forget_right": 0.5})
