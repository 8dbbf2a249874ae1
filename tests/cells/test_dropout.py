"""Dropout by a counter-based generator: shares and scales, seeds, autograd, torch.compile; and the engine's own."""

from __future__ import annotations

import math

import pytest
import torch

from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import library
from rnnlab.cells.dropout import Dropout, dropout

FUNCTIONS = library().functions
needs_engine = pytest.mark.skipif(FUNCTIONS is None, reason=library().detail)


@pytest.fixture(params=["engine", "torch"])
def path(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(engine, "runs", lambda x: False)
    elif FUNCTIONS is None:
        pytest.skip(library().detail)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_share_of_zeros_and_the_scale_of_the_rest_are_right(p, dtype, path):
    torch.manual_seed(1)
    count = 400_000
    y = dropout(torch.ones(count, dtype=dtype), p)
    assert set(y.unique().tolist()) == {0.0, float(torch.tensor(1 / (1 - p), dtype=dtype))}
    # Four standard deviations of a binomial share.
    assert abs(float((y == 0).float().mean()) - p) < 4 * math.sqrt(p * (1 - p) / count)


@needs_engine
def test_masks_of_neighbours_and_of_neighbouring_seeds_are_independent():
    masks = [engine.drop(torch.ones(2**18, dtype=torch.float64), seed, 0.5) - 1 for seed in (0, 1, 2**32, 2**62)]
    for a in masks:
        for lag in (1, 8, 16, 32, 64, 256):
            # A correlation of 2^18 independent signs has a standard deviation of 2^-9; four of them.
            assert abs(float((a[lag:] * a[:-lag]).mean())) < 4 * 2**-9
        assert sum(abs(float((a * b).mean())) > 4 * 2**-9 for b in masks) == 1  # with itself


@needs_engine
def test_words_are_philoxs():
    # Known answers of Random123 for counter 0 and key 0; the words of counter 0 belong to entries 0, 8, 16 and 24.
    words = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    for place, word in enumerate(words):
        for offset, kept in ((-1, False), (0, False), (1, True)):
            p = 1 - (word + offset) / 2**32
            assert bool(engine.drop(torch.ones(32), 0, p)[8 * place]) is kept


@needs_engine
def test_neither_threads_nor_vectors_nor_the_length_change_the_mask():
    x = torch.randn(100_003)
    try:
        wanted = engine.drop(x, 7, 0.3)
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(engine.drop(x, 7, 0.3), wanted)
        for name in ("avx512", "avx2", "portable"):
            if FUNCTIONS.rnnlab_use_instruction_set(name.encode()) == 0:
                assert torch.equal(engine.drop(x, 7, 0.3), wanted), name
                assert torch.equal(engine.drop(x[:1001], 7, 0.3), wanted[:1001]), name
                assert torch.equal(engine.drop(x.double(), 7, 0.3) != 0, wanted != 0), name
    finally:
        torch.set_num_threads(1)
        FUNCTIONS.rnnlab_use_instruction_set(None)


def test_the_generators_state_decides_and_moves_on(path):
    x = torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x, 0.5), dropout(x, 0.5)
    state = torch.get_rng_state()
    third = dropout(x, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x, 0.5), third)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    assert not torch.equal(first, second)


def test_gradients_pass_where_values_did(path):
    x = torch.randn(50, 7, dtype=torch.float64, requires_grad=True)
    y = dropout(x.t(), 0.4)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad.t() * x.t(), y, rtol=1e-15, atol=0.0)


def test_many_gradients_asked_for_at_once_pass_one_mask(path):
    x, many = torch.randn(5, 7, dtype=torch.float64, requires_grad=True), torch.randn(3, 5, 7, dtype=torch.float64)
    y = dropout(x, 0.4)
    (grads,) = torch.autograd.grad(y, x, many, is_grads_batched=True)
    torch.testing.assert_close(grads, many * (y != 0) / 0.6, rtol=1e-15, atol=0.0)


def test_nothing_happens_without_training_or_without_a_share(path):
    x = torch.ones(9)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0) is x
    assert torch.equal(dropout(x, 1.0), torch.zeros(9))
    assert dropout(torch.ones(0), 0.5).shape == (0,)


@needs_engine
def test_gradients_hold_against_differences_twice(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "random_", lambda tensor: tensor.fill_(5))  # one mask for all calls
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: dropout(x, 0.4) ** 2, x)
    assert torch.autograd.gradgradcheck(lambda x: dropout(x, 0.4) ** 2, x)


def test_torch_compile_traces_torchs_own_dropout():
    compiled = torch.compile(lambda x: dropout(x, 0.5), backend="aot_eager", fullgraph=True)
    assert set(compiled(torch.ones(200)).unique().tolist()) == {0.0, 2.0}


def test_a_function_transform_gets_torchs_own_dropout():
    rows = torch.func.vmap(lambda row: dropout(row, 0.5), randomness="different")(torch.ones(4, 100))
    assert set(rows.unique().tolist()) == {0.0, 2.0}


def test_the_module_refuses_what_is_no_share_and_shows_p():
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"
    with pytest.raises(ValueError, match=r"p must be from 0 to 1, got 1\.5"):
        Dropout(1.5)
    module = Dropout(0.5).eval()
    x = torch.ones(3)
    assert module(x) is x


@pytest.mark.parametrize("p", [-0.5, 1.5, math.nan])
def test_the_function_refuses_what_is_no_share_as_torchs_does(p, path):
    with pytest.raises(ValueError, match=f"p must be from 0 to 1, got {p}"):
        dropout(torch.ones(3), p)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, in its first jvp
def test_forward_mode_keeps_its_tangents():
    x = torch.randn(40, dtype=torch.float64)
    y, tangent = torch.func.jvp(lambda x: dropout(x, 0.5), (x,), (x,))
    assert torch.equal(y, tangent)
