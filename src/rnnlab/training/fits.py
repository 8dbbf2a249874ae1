"""Does a checkpoint belong to this run? Weights, optimizer, settings and counters are compared before one is used.

torch's optimizers take a state of other shapes without a word, and a checkpoint may be a stranger's.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.config import NO_HYPERPARAMETERS, TrainConfig
from rnnlab.errors import CheckpointError
from rnnlab.schema import plain, walk
from rnnlab.tasks.base import Task
from rnnlab.training.counters import Counters

# What may change when a run goes on: how long, how fast and what is shown, never what is learned. Of the trainer.
_OF_THE_TRAINER = {name.removeprefix("trainer.") for name in NO_HYPERPARAMETERS if name.startswith("trainer.")}
CHANGEABLE = tuple(sorted({*_OF_THE_TRAINER, "max_epochs", "max_minutes", "max_steps", "patience"}))
# What may change if `resume_allow` names it: all that fits the weights, the optimizer and the place in the data.
ALLOWABLE = (
    "task.corpus",
    *(f"model.{name}" for name in ("backend", "clip_state_grad", "dropout", "recompute", "recurrent_dropout")),
    *(f"model.{name}" for name in ("weight_drop", "zoneout", "zoneout_cell")),
    *(f"optimizer.{name}" for name in ("alpha", "beta1", "beta2", "eps", "lr", "momentum", "nesterov")),
    "optimizer.weight_decay",
    *(f"scheduler.{name}" for name in ("every_epochs", "final_share", "gamma", "min_lr", "patience", "start_epoch")),
    "scheduler.warmup_steps",
    *(f"trainer.{name}" for name in ("accumulate", "averaging_decay", "clip_grad_norm", "clip_grad_value")),
    *(f"trainer.{name}" for name in ("eval_every_steps", "precision")),
)
# No settings of what is learned; what the corpus is, its hash says.
_ASIDE = NO_HYPERPARAMETERS | {"task.corpus", *(f"trainer.{name}" for name in CHANGEABLE)}

# What each keeps of a parameter besides one number; all may be missing before the first step.
_SLOTS = {
    "SGD": {"momentum_buffer"},
    "Adam": {"exp_avg", "exp_avg_sq"},
    "AdamW": {"exp_avg", "exp_avg_sq"},
    "RMSprop": {"square_avg", "momentum_buffer"},
}
_KINDS = {
    **dict.fromkeys(("model", "averaged", "optimizer", "schedule", "counters", "metrics", "best_metrics"), dict),
    **dict.fromkeys(("rng", "events", "settings"), dict),
}
_SHOWN = 3  # differences in a message


def learned_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide what is learned, by dotted key: what a checkpoint keeps of them."""
    return {setting.key: plain(value) for setting, value in walk(config) if setting.key not in _ASIDE}


def identity(task: Task, settings: dict[str, Any]) -> dict[str, str]:
    """Return hashes of what a run's checkpoints are of: settings, corpus, vocabulary."""
    text = json.dumps(settings, sort_keys=True, default=str)
    found = {"settings": hashlib.sha256(text.encode()).hexdigest(), "vocabulary": task.vocabulary_hash}
    return found | {"corpus": str(task.corpus.get("sha256"))}


def identity_difference(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Say in one line which hashes of a checkpoint are not those wanted; "" if all are, or it does not name them."""
    wrong = [
        f"its {name} has hash {str(found[name])[:12]}, the run's has {value[:12]}"
        for name, value in wanted.items()
        if name in found and found[name] != value
    ]
    return "; ".join(wrong)


def weight_difference(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Say in one line how a checkpoint's tensors differ from a model's in name, shape or dtype; "" if they do not.

    Args:
        weights: of the checkpoint, by name.
        wanted: of the model, by name.
    """
    got, want = ({name: _kind(tensor) for name, tensor in tensors.items()} for tensors in (weights, wanted))
    wrong = [name for name in (*want, *got) if got.get(name) != want.get(name)]
    if not wrong:
        return ""
    first = wrong[0]
    count = len(set(wrong))
    return f"{first} is {got.get(first, 'not there')}, wanted {want.get(first, 'none')} ({count} of {len(want)} differ)"


def state_difference(saved: Any, parts: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> str:
    """Say in one line how a training state differs from what this model and optimizer can go on from; "" if not.

    Args:
        saved: what a checkpoint holds.
        parts: modules by their name in it.
        optimizer: ours.
    """
    for name, kind in _KINDS.items():
        if not isinstance(saved.get(name), kind):
            return f"{name} is {type(saved.get(name)).__name__}, wanted {kind.__name__}"
    for name, part in parts.items():
        if not all(isinstance(tensor, Tensor) for tensor in saved[name].values()):
            return f"{name} holds more than tensors"
        if difference := weight_difference(saved[name], part.state_dict()):
            return f"{name}: {difference}"
    if difference := optimizer_difference(saved["optimizer"], optimizer):
        return f"optimizer: {difference}"
    state = saved.get("state")
    if not all(
        isinstance(part, Tensor) for part in (state if isinstance(state, tuple) else (state,) * (state is not None))
    ):
        return "the carried state is no tensor"
    if not all(type(size) is int and size >= 0 for size in saved["events"].values()):
        return "events are no sizes of files"
    try:
        counters_from(saved["counters"])
        for random in (saved["rng"], *saved.get("ranks", [])):
            torch.Generator().set_state(random["cpu"])
    except CheckpointError as error:
        return str(error)
    except (RuntimeError, TypeError, KeyError, AttributeError):
        return "its random numbers cannot go on"
    return ""


def optimizer_difference(state: Any, optimizer: torch.optim.Optimizer) -> str:
    """Say in one line how a checkpoint's optimizer differs from ours in parameters, names, shapes or dtypes; "" if not.

    Args:
        state: its `state_dict`, from a checkpoint.
        optimizer: ours.
    """
    kind = type(optimizer).__name__
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    try:
        ours, theirs = (
            [len(group["params"]) for group in groups] for groups in (optimizer.param_groups, state["param_groups"])
        )
        if ours != theirs:
            return f"its groups have {theirs} parameters, wanted {ours}"
        order = [index for group in state["param_groups"] for index in group["params"]]
        if order != list(range(len(parameters))) or set(state["state"]) - set(order):
            return "its parameters are not numbered as ours are"
        for group in state["param_groups"]:
            if not (isinstance(group["lr"], float | int) and 0 <= group["lr"] < math.inf):
                return f"its learning rate is {group['lr']!r}"
        for index, slots in state["state"].items():
            if wrong := _slot_difference(slots, parameters[index], _SLOTS.get(kind)):
                return f"parameter {index} of {kind}: {wrong}"
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        return f"it is no state of an optimizer ({type(error).__name__}: {error})"
    return ""


def settings_difference(found: Mapping[str, Any], wanted: Mapping[str, Any], allowed: Collection[str]) -> str:
    """Say in one line which settings a checkpoint was written with are not those of now; "" if all are.

    Args:
        found: of the checkpoint, by dotted key; keys that only one of the two has are left out.
        wanted: of the run.
        allowed: keys that may differ.
    """
    wrong = [key for key in wanted if key in found and found[key] != wanted[key] and key not in allowed]
    parts = [f"{key} is {found[key]} there and {wanted[key]} here" for key in wrong[:_SHOWN]]
    more = len(wrong) - _SHOWN
    return ", ".join([*parts, *([f"{more} more"] if more > 0 else [])])


def counters_from(content: Any) -> Counters:
    """Take counters out of a checkpoint.

    Raises:
        CheckpointError: one is missing, unknown, or no number that it can be.
    """
    kinds = {field.name: field.type for field in fields(Counters)}
    if not isinstance(content, dict) or set(content) != set(kinds):
        raise CheckpointError("its counters are not those of this rnnlab")
    for name, value in content.items():
        is_whole = type(value) is int and value >= -1
        is_right = is_whole if kinds[name] == "int" else is_whole or type(value) is float
        if not is_right:
            raise CheckpointError(f"its counter {name} cannot be {value!r}"[:200])
    return Counters(**content)


def _slot_difference(slots: Mapping[str, Any], parameter: Tensor, names: set[str] | None) -> str:
    """Compare what an optimizer keeps of one parameter."""
    for name, value in slots.items():
        if names is not None and name not in {*names, "step"}:
            return f"it keeps no {name}"
        if value is None and name == "momentum_buffer":
            continue
        if not isinstance(value, Tensor):
            return f"{name} is no tensor"
        if name == "step":
            if value.dim() > 0 or not value.is_floating_point():
                return f"step is {_kind(value)}, wanted one number"
        elif _kind(value) != _kind(parameter):
            return f"{name} is {_kind(value)}, wanted {_kind(parameter)}"
    return ""


def _kind(tensor: Tensor) -> str:
    """Shape, and dtype where it is not the usual."""
    dtype = "" if tensor.dtype == torch.float32 else f" {str(tensor.dtype).removeprefix('torch.')}"
    return f"{tuple(tensor.shape)}{dtype}"
