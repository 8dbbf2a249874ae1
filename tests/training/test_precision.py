"""In which width a model runs."""

import pytest
import torch

from rnnlab.config import Precision
from rnnlab.training.precision import autocast


@pytest.mark.parametrize(("precision", "dtype"), [(Precision.fp32, torch.float32), (Precision.bf16, torch.bfloat16)])
def test_products_have_the_width_that_was_asked_for_and_weights_their_own(precision, dtype):
    weight = torch.ones(2, 2)
    with autocast(precision, weight.device):
        assert (weight @ weight).dtype == dtype
    assert weight.dtype == torch.float32
    assert (weight @ weight).dtype == torch.float32
