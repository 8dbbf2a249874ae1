import torch

from rnnlab.cells.define import define_op


def test_a_defined_op_can_be_called_differentiated_and_checked():
    define_op("rnnlab::twice_for_a_test", "(Tensor x) -> Tensor", lambda x: 2 * x)
    name = "rnnlab::twice_for_a_test"
    torch.library.register_fake(name, torch.empty_like)
    torch.library.register_autograd(name, lambda ctx, grad: 2 * grad)
    twice = torch.ops.rnnlab.twice_for_a_test
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    assert twice(x).tolist() == [2, 2, 2]
    assert torch.autograd.gradcheck(twice, x)
    torch.library.opcheck(twice.default, (x,))
