import copy
import json
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from rnnlab.config import (
    AdamConfig,
    CosineConfig,
    OptimizerConfig,
    PlateauConfig,
    RMSpropConfig,
    SchedulerConfig,
    SGDConfig,
    StepConfig,
)
from rnnlab.training.optimizers import Schedule, build_optimizer

OPTIMIZERS = {
    "sgd": (SGDConfig(name="sgd", lr=0.1), torch.optim.SGD, {}),
    "momentum": (
        SGDConfig(name="sgd", lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
        torch.optim.SGD,
        {"momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": (
        AdamConfig(name="adam", lr=0.1, beta1=0.7, beta2=0.8, eps=1e-3, weight_decay=0.02),
        torch.optim.Adam,
        {"betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.02},
    ),
    "adamw": (
        AdamConfig(name="adamw", lr=0.1, weight_decay=0.3),
        torch.optim.AdamW,
        {"weight_decay": 0.3},
    ),
    "rmsprop": (
        RMSpropConfig(name="rmsprop", lr=0.1, alpha=0.7, momentum=0.5, eps=1e-3, weight_decay=0.02),
        torch.optim.RMSprop,
        {"alpha": 0.7, "momentum": 0.5, "eps": 1e-3, "weight_decay": 0.02},
    ),
}


def step(model, optimizer, times=4):
    for number in range(times):
        optimizer.zero_grad()
        model(torch.full((2, 3), 0.5 + number)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_is_torchs_own_with_the_settings_it_was_given(name):
    config, kind, settings = OPTIMIZERS[name]
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    other = copy.deepcopy(model)
    optimizer = build_optimizer(model.parameters(), config)
    assert isinstance(optimizer, kind)
    assert type(optimizer).__name__ == kind.__name__
    step(model, optimizer)
    step(other, kind(other.parameters(), lr=0.1, **settings))
    # The fused step does the same sums in float32, in another order.
    torch.testing.assert_close(model.weight, other.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.bias, other.bias, rtol=1e-5, atol=1e-6)


def test_adamw_decays_weights_beside_the_gradient_and_adam_inside_it():
    weights = {}
    for name in ("adam", "adamw"):
        parameter = nn.Parameter(torch.ones(1))
        optimizer = build_optimizer([parameter], AdamConfig(name=name, lr=0.1, weight_decay=0.5))
        parameter.grad = torch.zeros(1)
        optimizer.step()
        weights[name] = parameter.item()
    assert weights["adamw"] == pytest.approx(1 - 0.1 * 0.5)
    assert weights["adam"] == pytest.approx(1 - 0.1)  # Adam's first step is lr times the sign of what it sees


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer must be sgd, adam, adamw or rmsprop, got 'lion'"):
        build_optimizer([nn.Parameter(torch.ones(1))], OptimizerConfig(name="lion", lr=1.0))


def schedule_of(config, *, total_steps=100, higher_is_better=False, lr=2.0):
    groups = [{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}]
    optimizer = torch.optim.SGD(groups, lr=lr)
    return Schedule(optimizer, config, total_steps=total_steps, higher_is_better=higher_is_better), optimizer


def rates(config, steps, epochs=None, **arguments):
    schedule, _ = schedule_of(config, **arguments)
    found = []
    for number in steps:
        schedule.before_step(number, 0 if epochs is None else epochs[number])
        found.append(schedule.lr)
    return found


def test_constant_is_the_rate_itself():
    assert rates(SchedulerConfig(name="constant"), range(5), total_steps=None) == [2.0] * 5


def test_step_holds_the_rate_for_some_epochs_and_then_drops_it():
    config = StepConfig(name="step", gamma=0.5, start_epoch=2, every_epochs=3)
    epochs = range(10)
    assert rates(config, epochs, epochs) == [2, 2, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_zarembas_schedule():
    """Zaremba, Sutskever & Vinyals 2014, section 4.1: lr 1, after 6 epochs divided by 1.2 after each."""
    config = StepConfig(name="step", gamma=1 / 1.2, start_epoch=6, every_epochs=1)
    found = rates(config, range(9), range(9), lr=1.0)
    assert found == pytest.approx([1] * 6 + [1 / 1.2, 1 / 1.2**2, 1 / 1.2**3])


def test_cosine_warms_up_and_comes_down_to_its_share():
    config = CosineConfig(name="cosine", warmup_steps=4, final_share=0.1)
    found = rates(config, [0, 1, 2, 3, 4, 52, 100, 500])
    middle = 0.1 + 0.9 * 0.5
    assert found == pytest.approx([2 * share for share in (0.25, 0.5, 0.75, 1, 1, middle, 0.1, 0.1)])


def test_cosine_without_warm_up_starts_at_the_full_rate_and_never_rises():
    found = rates(CosineConfig(name="cosine", warmup_steps=0, final_share=0.0), range(100))
    assert found[0] == 2.0
    assert found == sorted(found, reverse=True)
    # The last update still moves: half a cosine, one step before its end.
    assert found[-1] == pytest.approx(1 + math.cos(math.pi * 0.99))


@pytest.mark.parametrize("warmup_steps", [100, 200])
def test_cosine_with_a_warm_up_as_long_as_the_run_is_a_warm_up(warmup_steps):
    config = CosineConfig(name="cosine", warmup_steps=warmup_steps)
    assert rates(config, [0, 49, 99]) == pytest.approx([2 * (n + 1) / warmup_steps for n in (0, 49, 99)])


def test_cosine_must_know_where_it_ends():
    with pytest.raises(ValueError, match=r"scheduler=cosine needs trainer\.max_steps or trainer\.max_epochs"):
        schedule_of(CosineConfig(name="cosine"), total_steps=None)


def test_every_parameter_group_gets_the_rate():
    schedule, optimizer = schedule_of(StepConfig(name="step", gamma=0.5, start_epoch=0))
    schedule.before_step(0, 0)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 1.0]


def test_a_schedule_of_steps_and_epochs_has_no_memory():
    schedule, _ = schedule_of(CosineConfig(name="cosine", warmup_steps=0))
    schedule.before_step(90, 3)
    schedule.after_evaluation(5.0)
    schedule.before_step(0, 0)
    assert schedule.lr == 2.0
    assert schedule.state_dict() == {}


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_plateau_drops_when_the_score_has_not_improved_for_longer_than_its_patience(higher_is_better):
    sign = -1 if higher_is_better else 1
    schedule, _ = schedule_of(
        PlateauConfig(name="plateau", gamma=0.5, patience=1, min_lr=0.3), higher_is_better=higher_is_better
    )
    found = []
    for score in (5, 4, 4, 3.9999999, 4, 4, 4, 4, 4, 4, 4, 4):
        schedule.before_step(0, 0)
        schedule.after_evaluation(sign * score)
        found.append(schedule.lr)
    # Equal is no improvement, the least is one; then a drop at every second evaluation down to min_lr.
    assert found == [2, 2, 2, 2, 2, 1, 1, 0.5, 0.5, 0.3, 0.3, 0.3]


def test_plateau_counts_a_score_that_is_no_number_as_no_improvement():
    schedule, _ = schedule_of(PlateauConfig(name="plateau", gamma=0.5, patience=0))
    schedule.after_evaluation(math.nan)
    schedule.after_evaluation(3.0)
    assert schedule.lr == 1.0
    schedule.after_evaluation(math.inf)
    assert schedule.lr == 0.5


@pytest.mark.parametrize("higher_is_better", [False, True])
@pytest.mark.parametrize("num_seen", [0, 1, 4])
def test_plateau_goes_on_after_being_written_down(num_seen, higher_is_better):
    config, scores = PlateauConfig(name="plateau", gamma=0.5, patience=1), [5, 4, 4, 4.5, 3, 3, 3, 3, 2]
    straight, _ = schedule_of(config, higher_is_better=higher_is_better)
    first, optimizer = schedule_of(config, higher_is_better=higher_is_better)
    expected, found = [], []
    for score in scores:
        straight.after_evaluation(score)
        expected.append(straight.lr)
    for score in scores[:num_seen]:
        first.after_evaluation(score)
        found.append(first.lr)
    content = json.loads(json.dumps([first.state_dict(), first.lr]))  # before any score, its best is infinite
    second, optimizer = schedule_of(config, higher_is_better=higher_is_better)
    for group in optimizer.param_groups:  # the rate itself is in the optimizer's state
        group["lr"] = content[1]
    second.load_state_dict(content[0])
    for score in scores[num_seen:]:
        second.after_evaluation(score)
        found.append(second.lr)
    assert found == expected


_STEPS = """
import sys
import torch
from rnnlab.cells import GRU
from rnnlab.config import AdamConfig, RMSpropConfig, SGDConfig
from rnnlab.training.optimizers import build_optimizer

layer = GRU(2, 3, backend="cpu")
kinds = {"sgd": SGDConfig, "adam": AdamConfig, "adamw": AdamConfig, "rmsprop": RMSpropConfig}
for name, kind in kinds.items():
    config = kind(name=name, lr=0.1)
    optimizer = build_optimizer(layer.parameters(), config)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
    layer(torch.ones(4, 1, 2))[0].sum().backward()
    optimizer.step()
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""


def test_steps_do_without_the_second_that_importing_a_compiler_takes():
    done = subprocess.run([sys.executable, "-c", _STEPS], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_step_leaves_gradients_on_and_builds_no_graph():
    layer = nn.Linear(3, 4)
    for config, _, _ in OPTIMIZERS.values():
        optimizer = build_optimizer(layer.parameters(), config)
        layer(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        assert torch.is_grad_enabled()
        assert all(parameter.is_leaf for parameter in layer.parameters())
