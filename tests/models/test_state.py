import pytest
import torch

from rnnlab.models.state import choose, detach, reset, restart


def made_state(cell):
    """A state (L=2, B=3, H=4) with a graph behind it."""
    leaf = torch.arange(24.0).view(2, 3, 4).requires_grad_()
    h = leaf + 1
    return (h, leaf + 2) if cell == "lstm" else h


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_detach_keeps_values_and_cuts_the_graph(cell):
    state = made_state(cell)
    cut = detach(state)
    assert type(cut) is type(state)
    for before, after in zip(parts(state), parts(cut), strict=True):
        assert after.equal(before)
        assert before.requires_grad
        assert not after.requires_grad


def test_detach_of_no_state_is_no_state():
    assert detach(None) is None


@pytest.mark.parametrize("starts", [[False, True, False], [False] * 3, [True] * 3])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_restart_gives_what_reset_gives_and_asks_nothing(cell, starts, monkeypatch):
    state, starts = detach(made_state(cell)), torch.tensor(starts)
    wanted = reset(state, starts)
    all_start = bool(starts.all())
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: pytest.fail("the state's device was asked"))
    found = restart(state, starts, all_start)
    if wanted is None:
        assert found is None
    else:
        for one, other in zip(parts(found), parts(wanted), strict=True):
            assert torch.equal(one, other)
    assert restart(None, starts, False) is None


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_reset_zeroes_the_rows_that_start_and_no_other(cell):
    state = made_state(cell)
    new = reset(state, torch.tensor([False, True, False]))
    for before, after in zip(parts(state), parts(new), strict=True):
        assert after[:, 1].abs().sum() == 0
        assert after[:, [0, 2]].equal(before[:, [0, 2]])
        assert before[:, 1].abs().sum() > 0, "the state before is not written into"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_a_row_held_before_cannot_reach_its_new_sequence(bad):
    state = made_state("gru").detach()
    state[:, 0] = bad
    assert reset(state, torch.tensor([True, False, False])).isfinite().all()


def test_gradients_reach_back_through_reset_for_the_rows_that_go_on():
    h = torch.ones(1, 2, 3, requires_grad=True)
    reset(h, torch.tensor([True, False])).sum().backward()
    assert h.grad[0].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_reset_of_every_row_forgets_the_state_whatever_its_batch_size():
    assert reset(made_state("lstm"), torch.tensor([True] * 7)) is None


def test_reset_of_no_row_gives_the_state_itself():
    state = made_state("lstm")
    assert reset(state, torch.tensor([False] * 3)) is state
    assert reset(None, torch.tensor([False] * 3)) is None


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_choose_takes_one_state_or_the_other_as_the_flag_says_and_none_is_zeros(cell):
    state = made_state(cell)
    other = tuple(part + 5 for part in state) if isinstance(state, tuple) else state + 5
    for one, wanted in ((state, parts(state)), (None, [torch.zeros(2, 3, 4) for _ in parts(state)])):
        for flag, expected in ((1.0, wanted), (0.0, parts(other))):
            chosen = choose(torch.tensor(flag), one, other)
            assert isinstance(chosen, tuple) == isinstance(state, tuple)
            assert all(got.equal(want) for got, want in zip(parts(chosen), expected, strict=True))
    assert choose(torch.tensor(1.0), None, None) is None


def test_nan_in_the_state_that_is_not_chosen_does_not_reach_the_other():
    nan = torch.full((2, 3, 4), torch.nan)
    assert choose(torch.tensor(1.0), torch.ones(2, 3, 4), nan).equal(torch.ones(2, 3, 4))
