"""A clamped model is the model, but for the unit that is held."""

import pytest
import torch

from rnnlab.generation.sampling import sample
from rnnlab.inspection.clamp import Clamped, Unit
from rnnlab.inspection.states import Quantity
from rnnlab.models import Classifier, LanguageModel

CELLS = ["rnn", "lstm", "gru"]


def build(cell, **more):
    torch.manual_seed(0)
    return LanguageModel(9, cell=cell, hidden_size=5, embedding_size=4, num_layers=2, **more).eval()


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_with_nothing_held_it_is_the_model(cell):
    model = build(cell, zoneout=0.2, layer_norm=True)
    inputs = torch.randint(9, (6, 3))
    logits, state = Clamped(model, {})(inputs)
    expected, expected_state = model(inputs)
    # float32 rounding: one engine steps, the other runs the window
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    for found, wanted in zip(parts(state), parts(expected_state), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    again, _ = Clamped(model, {})(inputs[:1], expected_state)  # the state is in the model's own layout
    torch.testing.assert_close(again, model(inputs[:1], expected_state)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_h_is_held_in_the_state_and_in_what_the_layer_above_sees(cell):
    model = build(cell)
    inputs = torch.randint(9, (4, 2))
    clamped = Clamped(model, {Unit(Quantity(0, "h"), 3): 0.75})
    logits, state = clamped(inputs)
    assert (parts(state)[0][0, :, 3] == 0.75).all()
    # by hand: two layers of their own, the first one's output and state set after every step
    first, second = (model.recurrent.single_layer(layer) for layer in (0, 1))
    below = above = None
    for t in range(4):
        y, below = first(model.embedding(inputs[t : t + 1]), below)
        y[..., 3] = 0.75
        parts(below)[0][..., 3] = 0.75
        y, above = second(y, above)
    torch.testing.assert_close(logits[-1], model.decode(y)[0], rtol=0, atol=1e-6)
    assert not torch.allclose(logits, model(inputs)[0], atol=1e-3)


@torch.no_grad()
def test_c_is_held_in_the_state_that_the_next_step_starts_from():
    model = build("lstm")
    inputs = torch.randint(9, (3, 2))
    unit = Unit(Quantity(1, "c"), 2)
    logits, (_, c) = Clamped(model, {unit: 4.0})(inputs)
    assert (c[1, :, 2] == 4).all()
    torch.testing.assert_close(logits[0], model(inputs)[0][0], rtol=0, atol=1e-5)  # the first step starts from zero
    state = None
    for t in range(2):
        _, state = model(inputs[t : t + 1], state)
        state[1][1, :, 2] = 4.0
    torch.testing.assert_close(logits[2], model(inputs[2:], state)[0][0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_model_is_left_alone_and_its_seed_gives_the_same_text():
    model = build("gru")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs = torch.randint(9, (4, 2))
    expected, _ = model(inputs)

    def write(runner):
        return sample(runner, [1], num_tokens=12, count=3, generator=torch.Generator().manual_seed(4))

    free = write(model)
    assert write(Clamped(model, {})) == free
    assert write(Clamped(model, {Unit(Quantity(1, "h"), 0): 30.0})) != free
    assert torch.equal(model(inputs)[0], expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        (Unit(Quantity(2, "h"), 0), "there is no layer 2; layers are 0 to 1"),
        (Unit(Quantity(0, "h"), 5), "there is no unit 5; units are 0 to 4"),
        (Unit(Quantity(0, "c"), 0), "'c' cannot be held; h can"),
        (Unit(Quantity(0, "reset"), 0), "'reset' cannot be held; h can"),
    ],
)
def test_what_is_not_there_cannot_be_held(unit, message):
    with pytest.raises(ValueError, match=message):
        Clamped(build("gru"), {unit: 0.0})


def test_a_bidirectional_model_is_refused():
    model = Classifier(9, 2, hidden_size=4, embedding_size=3, bidirectional=True)
    with pytest.raises(ValueError, match="a bidirectional model has no step that comes next"):
        Clamped(model, {})
