"""Which tokens may be drawn."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.generation import filter_logits

LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=12).map(torch.tensor)


@given(logits=LOGITS, top_p=st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_set_that_holds_the_mass(logits, top_p):
    kept = filter_logits(logits, top_p=top_p).isfinite()
    probabilities = logits.double().softmax(dim=-1)
    assert kept.sum() >= 1
    # The mass of a set is a sum in another order here than in the filter: float64 rounding of at most 12 terms.
    assert probabilities[kept].sum() >= top_p - 1e-12
    assert probabilities[kept].sum() - probabilities[kept].min() < top_p + 1e-12
    if not kept.all():
        assert probabilities[~kept].max() <= probabilities[kept].min()


@given(logits=LOGITS, data=st.data())
def test_top_k_keeps_k_of_the_likeliest(logits, data):
    top_k = data.draw(st.integers(1, len(logits)))
    filtered = filter_logits(logits, top_k=top_k)
    kept = filtered.isfinite()
    assert kept.sum() == top_k
    assert filtered[kept].equal(logits[kept])
    if not kept.all():
        assert logits[~kept].max() <= logits[kept].min()


def test_top_p_of_exactly_the_mass_of_a_set_keeps_that_set():
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).log()
    assert filter_logits(logits, top_p=0.75).isfinite().tolist() == [True, True, False, False]


def test_top_p_looks_at_what_top_k_left():
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64).log()
    assert filter_logits(logits, top_k=2, top_p=0.55).isfinite().tolist() == [[True, False, False, False]]
