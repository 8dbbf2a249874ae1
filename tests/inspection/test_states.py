"""Every quantity of every token equals the equations, whatever stands beside a text."""

import numpy as np
import pytest
import torch

from rnnlab.inspection.states import Quantity, padded, read_activations
from rnnlab.models import LanguageModel


def build(cell, **more):
    torch.manual_seed(0)
    return LanguageModel(9, cell=cell, hidden_size=5, embedding_size=4, num_layers=2, **more).eval()


TEXTS = [np.array(text) for text in ([1, 2, 3, 4, 5], [6, 7], [8, 1, 3])]


def test_an_lstms_states_follow_from_its_gates():
    found = read_activations(build("lstm"), TEXTS)
    assert set(found) == {Quantity(k, name) for k in (0, 1) for name in ("h", "c", "input", "forget", "cell", "output")}
    for layer in (0, 1):
        h, c, i, f, g, o = (found[Quantity(layer, name)] for name in ("h", "c", "input", "forget", "cell", "output"))
        start = 0
        for text in TEXTS:
            before = torch.zeros(5)
            for row in range(start, start + len(text)):
                # float32: two engines of one recurrence
                torch.testing.assert_close(f[row] * before + i[row] * g[row], c[row], rtol=0, atol=1e-5)
                torch.testing.assert_close(o[row] * c[row].tanh(), h[row], rtol=0, atol=1e-5)
                before = c[row]
            start += len(text)


@pytest.mark.parametrize(("cell", "gates"), [("gru", {"reset", "update", "new"}), ("rnn", set())])
def test_other_cells_have_h_and_their_gates(cell, gates):
    found = read_activations(build(cell), TEXTS)
    assert {quantity.name for quantity in found} == {"h", *gates}
    assert all(values.shape == (10, 5) for values in found.values())


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_text_alone_gives_the_same_and_zoneout_its_mean(cell):
    model = build(cell, zoneout=0.3, layer_norm=True)
    together = read_activations(model, TEXTS)
    alone = [read_activations(model, [text]) for text in TEXTS]
    for quantity, values in together.items():
        torch.testing.assert_close(values, torch.cat([one[quantity] for one in alone]), rtol=0, atol=1e-5)
    with torch.no_grad():
        h, _ = model.hidden(torch.from_numpy(TEXTS[0])[:, None])
    torch.testing.assert_close(together[Quantity(1, "h")][:5], h[:, 0], rtol=0, atol=1e-5)


def test_texts_of_like_length_stand_side_by_side():
    ((rows, inputs, lengths),) = padded(TEXTS)
    assert (rows, lengths.tolist()) == ([1, 2, 0], [2, 3, 5])
    assert inputs.T.tolist() == [[6, 7, 0, 0, 0], [8, 1, 3, 0, 0], [1, 2, 3, 4, 5]]
