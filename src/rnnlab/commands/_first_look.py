"""What is done with a model before its run begins: a length of windows is measured, a window is tried."""

from __future__ import annotations

import logging
import time
from typing import Any

import torch
from torch import nn

from rnnlab.commands._finished import build_model
from rnnlab.commands._held_out import held_out
from rnnlab.config import Precision, TrainConfig
from rnnlab.errors import ConfigError
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.xray import truncation_facts
from rnnlab.tasks import Task
from rnnlab.training import warmup
from rnnlab.training.precision import autocast

log = logging.getLogger("rnnlab")


def measure_bptt_len(task: Task, config: TrainConfig, device: torch.device) -> tuple[int, dict[str, Any]]:
    """Return the length that the truncation meter finds, to be put in the place of the one given, and what it met."""
    torch.manual_seed(config.seed)
    model = build_model(task, config).to(device)
    if not can_unroll(model):
        raise ConfigError(f"trainer.auto_bptt_len=true cannot measure the model of task={task.name}; set false")
    log.info("trainer.auto_bptt_len: a warm-up of %d steps, to be thrown away", warmup.WARM_STEPS)
    warmup.warm_up(task, model, config, device)
    model.eval()
    found = held_out(task, model, "valid", rows=warmup.ROWS, steps=warmup.LONGEST)
    window = found.window.to(device)

    def loss() -> torch.Tensor:
        outputs, _ = task.forward(model, window, found.state)
        return task.nats(model, outputs, window) / window.num_targets

    length, met = warmup.measure(model, loss, window.inputs.shape[0])
    facts = truncation_facts(met, window.inputs.shape[0])
    log.info("trainer.bptt_len=%d: the shortest whose gradient is that of %d steps", length, facts["full_steps"])
    return length, facts


def dry_run(task: Task, model: nn.Module, precision: Precision, device: torch.device) -> None:
    """Run one window forward and backward, write nothing but a line on the console."""
    window = task.train_windows(0)[0]
    count = window.num_targets
    window = window.to(device)
    began = time.perf_counter()
    with autocast(precision, device):
        outputs, _ = task.forward(model, window, None)
        loss = task.nats(model, outputs, window) / count
    loss.backward()
    milliseconds = 1e3 * (time.perf_counter() - began)
    shape = tuple(window.inputs.shape[:2])
    message = "dry run: first window (T, B) = %s, loss %.4f %s, %.0f ms"
    log.info(message, shape, float(loss.detach()), task.loss_unit, milliseconds)
