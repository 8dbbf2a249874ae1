import pytest
import torch
from torch import Tensor, nn

from rnnlab.errors import DivergedError
from rnnlab.generation import sample

VOCAB_SIZE = 6


class TinyModel(nn.Module):
    """A GRU language model with dropout, so that evaluation mode matters."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.embedding = nn.Embedding(VOCAB_SIZE, 8)
            self.layers = nn.GRU(8, 8)
            self.head = nn.Linear(8, VOCAB_SIZE)
        self.dropout = nn.Dropout(0.5)
        self.calls: list[tuple[int, ...]] = []

    def forward(self, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert not torch.is_grad_enabled()
        self.calls.append(tuple(inputs.shape))
        outputs, state = self.layers(self.embedding(inputs), state)
        return self.head(self.dropout(outputs)) * 3, state


def counting(inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """The likeliest next id is always the last id plus one, modulo V."""
    logits = nn.functional.one_hot((inputs + 1) % VOCAB_SIZE, VOCAB_SIZE).float()
    return logits, inputs[-1]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_prompt_goes_in_once_and_then_one_token_a_step():
    model = TinyModel()
    samples = sample(model, [1, 2, 3], num_tokens=4, count=2, generator=seeded())
    assert model.calls == [(3, 2), (1, 2), (1, 2), (1, 2)]
    assert [len(tokens) for tokens in samples] == [4, 4]


def test_carried_state_gives_what_feeding_everything_again_gives():
    model = TinyModel().eval()
    tokens = [2]
    with torch.no_grad():
        for _ in range(8):
            tokens.append(int(model(torch.tensor(tokens).unsqueeze(1))[0][-1, 0].argmax()))
    assert sample(model, [2], num_tokens=8, temperature=0) == [tokens[1:]]


def test_one_seed_gives_one_answer_and_the_global_chance_is_untouched():
    before = torch.random.get_rng_state()
    first = sample(TinyModel(), [0], num_tokens=20, count=3, generator=seeded(5))
    assert torch.random.get_rng_state().equal(before)
    torch.manual_seed(123)
    assert sample(TinyModel(), [0], num_tokens=20, count=3, generator=seeded(5)) == first
    assert sample(TinyModel(), [0], num_tokens=20, count=3, generator=seeded(6)) != first


def test_without_a_generator_the_global_chance_is_untouched_too():
    before = torch.random.get_rng_state()
    sample(TinyModel(), [0], num_tokens=3)
    assert torch.random.get_rng_state().equal(before)


def test_each_submodule_gets_its_own_mode_back():
    model = TinyModel().train()
    model.dropout.eval()
    sample(model, [0], num_tokens=2, generator=seeded())
    assert (model.training, model.layers.training, model.dropout.training) == (True, True, False)


def test_a_sample_ends_at_the_stop_token_and_does_not_hold_it():
    assert sample(counting, [0], num_tokens=10, temperature=0, stop_id=4) == [[1, 2, 3]]


def test_drawing_ends_when_every_sample_has_stopped():
    model = TinyModel()
    forbidden = [token for token in range(VOCAB_SIZE) if token != 4]
    assert sample(model, [0], num_tokens=10, count=2, forbidden_ids=forbidden, stop_id=4) == [[], []]
    assert len(model.calls) == 1


def test_no_tokens_are_drawn_where_none_are_wanted():
    assert sample(counting, [0], num_tokens=0, count=2) == [[], []]


@pytest.mark.parametrize("temperature", [0, 1e-30, 1.0, 50.0])
def test_forbidden_ids_are_never_drawn(temperature):
    tokens = sample(counting, [0], num_tokens=50, temperature=temperature, forbidden_ids={1, 2}, generator=seeded())[0]
    assert not {1, 2} & set(tokens)


def test_a_tiny_temperature_and_top_k_of_one_are_greedy():
    greedy = sample(TinyModel(), [0], num_tokens=12, temperature=0)
    assert sample(TinyModel(), [0], num_tokens=12, temperature=1e-30, generator=seeded()) == greedy
    assert sample(TinyModel(), [0], num_tokens=12, top_k=1, generator=seeded()) == greedy
    assert sample(TinyModel(), [0], num_tokens=12, top_p=1e-9, generator=seeded()) == greedy


def test_tokens_come_as_often_as_the_softmax_says():
    probabilities = torch.tensor([0.5, 0.3, 0.2])

    def model(inputs: Tensor, state: None) -> tuple[Tensor, None]:
        return probabilities.log().expand(*inputs.shape, 3), None

    tokens = torch.tensor(sample(model, [0], num_tokens=100, count=100, generator=seeded()))
    shares = torch.bincount(tokens.flatten(), minlength=3) / 10_000
    # Three standard deviations of a share of 10,000 draws: 3 * sqrt(0.5 * 0.5 / 10,000).
    assert torch.allclose(shares, probabilities, atol=0.015)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": []}, "prompt must hold at least one token"),
        ({"num_tokens": -1}, "num_tokens must be at least 0, got -1"),
        ({"temperature": -0.5}, "temperature must be a finite number, at least 0, got -0.5"),
        ({"temperature": float("nan")}, "got nan"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        ({"top_k": 7}, "top_k must be from 1 to the vocabulary's 6 tokens, got 7"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"top_p": 1.5}, "got 1.5"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"forbidden_ids": [6]}, "forbidden_ids must be from 0 to 5, got 6"),
        ({"forbidden_ids": range(6)}, "forbidden_ids holds all 6 tokens"),
    ],
)
def test_an_argument_out_of_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(counting, **({"prompt": [0], "num_tokens": 3} | arguments))


def test_nan_logits_are_named():
    with pytest.raises(DivergedError, match="logits are nan"):
        sample(lambda inputs, state: (torch.full((1, 1, 3), torch.nan), None), [0], num_tokens=1)
