import pytest
import torch
from torch import Tensor

from rnnlab.cells.cpu.library import library
from rnnlab.errors import DivergedError
from rnnlab.generation import sample, sampling
from rnnlab.models import LanguageModel

VOCAB_SIZE = 53

pytestmark = pytest.mark.skipif(library().functions is None, reason="the CPU engine is not built")


def model_of(cell: str = "lstm", **settings: object) -> LanguageModel:
    """Odd sizes, so that the last vector of units and the last group of words are not whole; far from uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = {"hidden_size": 37, "num_layers": 2, "embedding_size": 11, **settings}
        model = LanguageModel(VOCAB_SIZE, cell=cell, **settings)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("recurrent.weight_hh"):  # an identity times three would explode
                parameter.mul_(3)
    return model.eval()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def called(model: LanguageModel, **arguments: object) -> tuple[list[list[int]], Tensor]:
    """What the same model draws when it is called for each token, and the generator's state after it."""
    generator = seeded()
    texts = sample(lambda inputs, state: model(inputs, state), [1, 2], generator=generator, **arguments)  # pyright: ignore
    return texts, generator.get_state()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"temperature": 0},
        {"temperature": 1e-3},
        {"top_k": 5},
        {"top_p": 0.7},
        {"top_k": 9, "top_p": 0.5, "temperature": 0.6},
        {"forbidden_ids": [3, 7]},
        {"stop_id": 4},
        {"top_k": VOCAB_SIZE, "top_p": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("cell", "settings"),
    [
        ("lstm", {}),
        ("gru", {}),
        ("rnn", {}),
        ("rnn", {"nonlinearity": "relu", "initialisation": "identity", "num_layers": 1}),
        ("lstm", {"tie_weights": True, "embedding_size": 37}),
    ],
)
@torch.no_grad()
def test_it_draws_what_calls_for_each_token_draw(
    cell: str, settings: dict[str, object], count: int, how: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    model = model_of(cell, **settings)
    generator = seeded()
    texts = sample(model, [1, 2], num_tokens=100, count=count, generator=generator, **how)  # pyright: ignore
    assert (texts, generator.get_state().tolist()) == (lambda t, s: (t, s.tolist()))(
        *called(model, num_tokens=100, count=count, **how)
    )
    monkeypatch.setattr(sampling, "_AT_ONCE", 1)
    assert sample(model, [1, 2], num_tokens=100, count=count, generator=seeded(), **how) == texts  # pyright: ignore


@torch.no_grad()
def test_the_number_of_threads_changes_nothing():
    model = model_of(hidden_size=512, embedding_size=64)  # large enough to be divided
    before, texts = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            texts.append(sample(model, [0], num_tokens=200, count=2, generator=seeded()))
    finally:
        torch.set_num_threads(before)
    assert texts[0] == texts[1] == texts[2]


_LIKELIEST = {"temperature": 0.0, "top_k": None, "top_p": None, "forbidden": None, "levels": None, "stop_id": None}


@torch.no_grad()
def test_the_state_it_is_given_stays_as_it_is():
    model = model_of()
    _, state = model(torch.tensor([[1], [2]]))
    kept = [s.clone() for s in state]
    writer = model.writer(state, 1)
    assert writer is not None
    writer.write(torch.tensor([3]), torch.zeros(1, dtype=torch.uint8), 5, **_LIKELIEST)
    assert all(torch.equal(s, k) for s, k in zip(state, kept, strict=True))


@torch.no_grad()
def test_weights_that_change_between_two_calls_are_seen():
    model = model_of()
    writer = model.writer(model(torch.tensor([[1]]))[1], 1)
    assert writer is not None
    stopped = torch.zeros(1, dtype=torch.uint8)
    drawn = writer.write(torch.tensor([1]), stopped, 10, **_LIKELIEST)
    assert 7 not in drawn
    assert model.decoder_bias is not None
    model.decoder_bias[7] = 1e4
    assert writer.write(drawn[-1], stopped, 30, **_LIKELIEST).flatten().tolist() == [7] * 30


@torch.no_grad()
def test_nan_after_the_first_token_ends_it():
    model = model_of()
    assert model.decoder_bias is not None
    bias, make_writer = model.decoder_bias, model.writer

    def spoil(state: tuple[Tensor, Tensor], rows: int) -> object:
        bias[7] = float("nan")
        return make_writer(state, rows)

    model.writer = spoil  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(DivergedError, match="nan or infinite"):
        sample(model, [1], num_tokens=40, generator=seeded())


def test_other_models_are_called_for_each_token():
    class Own(LanguageModel):
        pass

    hooked = model_of()
    hooked.recurrent.register_forward_hook(lambda *_: None)
    one_hot = LanguageModel(VOCAB_SIZE, embedding="one_hot", hidden_size=8).eval()
    normed = LanguageModel(VOCAB_SIZE, hidden_size=8, layer_norm=True).eval()
    zoned = LanguageModel(VOCAB_SIZE, hidden_size=8, zoneout=0.1).eval()
    adaptive = LanguageModel(VOCAB_SIZE, hidden_size=8, decoder="adaptive", cutoffs=[10]).eval()
    others = (hooked, one_hot, normed, zoned, adaptive, Own(VOCAB_SIZE).eval(), model_of(backend="torch"))
    for model in (*others, model_of().double(), model_of().train()):
        h = torch.zeros(2, 1, 37)
        assert model.writer((h, h), 1) is None
    h = torch.zeros(2, 17, 37)
    assert model_of().writer((h, h), 17) is None  # more rows than it is good for
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model_of().writer((h[:, :1], h[:, :1]), 1) is None
