"""The kernel's values against torch's, over rows longer and shorter than what a program reads at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from rnnlab.cells.cpu import engine
from rnnlab.losses import chunks, kernel, linear_cross_entropy


@pytest.mark.parametrize("vocab", [2, 31, 64, 200])
@pytest.mark.parametrize("with_bias", [False, True])
def test_rows_get_torchs_loss_and_gradient(vocab: int, with_bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LANES", 64)
    logits = 30 * torch.randn(5, vocab, generator=torch.Generator().manual_seed(vocab))
    logits[0, 1] = -torch.inf
    bias = torch.linspace(-1, 1, vocab) if with_bias else None
    targets = torch.tensor([0, vocab - 1, -100, 1, 0])
    exact = logits.double().requires_grad_()
    scores = exact if bias is None else exact + bias.double()
    nats = cross_entropy(scores, targets, reduction="none")
    (errors,) = torch.autograd.grad(nats.sum(), exact)
    got_nats, _ = kernel.judge(logits.clone(), bias, targets, -100, False)
    again, got_errors = kernel.judge(logits, bias, targets, -100, True)
    # Float32 logits of up to 100, each off by 4e-6; the gradient's errors are shares of at most 1 times that.
    torch.testing.assert_close(got_nats, nats.detach().float(), rtol=0.0, atol=1e-5)
    torch.testing.assert_close(got_errors, errors.float(), rtol=0.0, atol=1e-5)
    assert torch.equal(got_nats, again)
    assert got_errors is logits


def test_a_target_that_is_no_column_makes_the_loss_nan() -> None:
    nats, _ = kernel.judge(torch.zeros(2, 4), None, torch.tensor([4, -1]), -100, False)
    assert nats.isnan().all()


def test_the_op_runs_the_kernel_on_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "runs", lambda x: False)
    monkeypatch.setattr(chunks, "_CHUNK_NUMBERS", 100)
    rows = []
    judge = kernel.judge
    monkeypatch.setattr(kernel, "judge", lambda logits, *rest: rows.append(len(logits)) or judge(logits, *rest))
    generator = torch.Generator().manual_seed(0)
    h, weight = (torch.randn(*s, generator=generator).requires_grad_() for s in ((7, 5), (33, 5)))
    targets = torch.randint(33, (7,), generator=generator)
    loss = linear_cross_entropy(h, weight, None, targets)
    exact = cross_entropy(h.double() @ weight.double().t(), targets, reduction="sum")
    wanted = torch.autograd.grad(exact, (h, weight))
    # Some tens of roundings of 6e-8.
    torch.testing.assert_close(loss, exact.float(), rtol=1e-6, atol=0.0)
    for got, want in zip(torch.autograd.grad(loss, (h, weight)), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert rows == [3, 3, 1]
