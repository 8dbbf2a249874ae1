"""Custom ops whose first call does not import torch._dynamo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def define_op(name: str, schema: str, run: Callable[..., Any]) -> None:
    """Define an op that changes none of its inputs, on every device; `torch.ops.rnnlab` has it then.

    What `torch.library.custom_op` does too, but that also wraps `run` to keep torch.compile out of it, for which it
    imports the compiler at the first call: one to two seconds of every start. The op is opaque to torch.compile anyway.

    Args:
        name: `rnnlab::name`; what `torch.library.register_fake` and `register_autograd` take.
        schema: types of arguments and results, as in `(Tensor x, float p) -> Tensor`.
        run: computes the results, new tensors.
    """
    torch.library.define(name, schema, tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(name, "default", run)
