"""rnnlab xray: how far back a finished run's states, gradients and losses reach; xray.json, pictures, sentences."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnnlab.commandline.compose import Request
from rnnlab.commands._finished import FinishedRun, check_corpus, open_run, refuse_no_number
from rnnlab.commands._held_out import HeldOut, held_out
from rnnlab.commands._tables import print_json
from rnnlab.config import XrayConfig
from rnnlab.data.windows import Window
from rnnlab.disk import cannot_write
from rnnlab.errors import ConfigError, DivergedError
from rnnlab.inspection import figures
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.memory import effective_memory
from rnnlab.inspection.xray import exact_copy, look, memory_facts, sentences
from rnnlab.json_files import read_json, write_json
from rnnlab.run_lock import lock_run
from rnnlab.runs import run_name
from rnnlab.tasks import Task
from rnnlab.training.console import log_to
from rnnlab.training.events import EventLog

log = logging.getLogger("rnnlab")


def run(request: Request) -> int:
    """Measure a run and write xray.json, xray/*.png (with the extra `plots`) and TensorBoard points into its folder.

    Raises:
        UserError: no such run, another corpus, a model that has no recurrent stack of ours, or one that computes no
            numbers.
    """
    settings: XrayConfig = request.settings
    if not settings.json:
        log_to(None)
    finished = open_run(settings)
    if not can_unroll(finished.model):
        raise ConfigError(
            f"{settings.run} has a model without rnnlab.cells' recurrent layers: xray cannot look into it"
        )
    finished.task.read_corpus()
    check_corpus(finished.folder, finished.task)
    try:
        report = measure(finished, settings)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        # A derivative is no number, where the loss still is one.
        raise DivergedError(
            f"{settings.run} has derivatives that are nan or infinite: its weights come from a run that diverged"
        ) from None
    with lock_run(finished.folder):
        _write(finished, report)
    if settings.json:
        print_json(report)
    else:
        print("\n".join(report["sentences"]))
        print(f"written: {finished.folder / 'xray.json'}")
    return 0


def measure(finished: FinishedRun, settings: XrayConfig) -> dict[str, Any]:
    """Return what xray.json holds.

    Raises:
        DivergedError: the loss is no number.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    task, model = finished.task, exact_copy(finished.model)
    found = held_out(task, model, settings.split.value, rows=settings.rows, steps=settings.steps)
    window = found.window

    def loss(model: nn.Module) -> torch.Tensor:
        outputs, _ = task.forward(model, window, found.state)
        return task.nats(model, outputs, window) / window.num_targets

    with torch.no_grad():
        refuse_no_number(finished, {f"{settings.split.value}/loss": float(loss(model))})
    report: dict[str, Any] = {
        "format": 1,
        "run": run_name(finished.folder),
        "checkpoint": settings.checkpoint.value,
        "split": settings.split.value,
        "seed": settings.seed,
        **look(model, window.inputs, loss, generator, state=found.state, lengths=window.lengths),
    }
    report["memory"] = _memory(task, finished.model, found, settings, generator)
    report["sentences"] = sentences(report)
    return report


def _memory(
    task: Task, model: nn.Module, found: HeldOut, settings: XrayConfig, generator: torch.Generator
) -> dict[str, Any]:
    device = next(model.parameters()).device

    @torch.no_grad()
    def judge(window: Window) -> float:
        rows = len(window.starts)
        window = window.to(device)
        outputs, _ = task.forward(model, window, None)
        if found.per_step:  # of all that was said, the last
            outputs, inputs = outputs[-1:], window.inputs[-1:]
            window = Window(inputs, window.targets, None, window.starts)
        return float(task.nats(model, outputs, window)) / rows

    memory = effective_memory(judge, found.sequences, generator, num_places=settings.places)
    return memory_facts(memory, task.loss_unit)


def _write(finished: FinishedRun, report: dict[str, Any]) -> None:
    """Write the report into the run's folder: JSON always, pictures where matplotlib is there."""
    folder = finished.folder
    write_json(folder / "xray.json", report)
    pictures: dict[str, Path] = {}
    if figures.has_matplotlib():
        try:
            (folder / "xray").mkdir(exist_ok=True)
            pictures = figures.draw(report, folder / "xray")
        except OSError as error:
            raise cannot_write(folder / "xray", error) from error
    else:
        log.info('no pictures: they need matplotlib: pip install "rnnlab[plots]"; the numbers are in xray.json')
    step = int(read_json(folder / "result.json").get("steps") or 0)
    events = EventLog(folder)
    try:
        for name, layer in report["layers"].items():
            # A curve over lags: the x axis is the lag here, not the step.
            for lag, value in enumerate(layer["rms_singular_value"]):
                events.scalars({f"xray_by_lag/{name}/state": value}, lag)
            for lag, value in enumerate(layer["gradient_norm_by_distance"]):
                events.scalars({f"xray_by_lag/{name}/gradient": value}, lag)
        for steps, value in zip(report["memory"]["lengths"], report["memory"]["loss"], strict=True):
            events.scalars({"xray_by_lag/loss_with_history": value}, steps)
        events.text("xray", "\n".join(report["sentences"]), step)
        for name, path in pictures.items():
            events.image(f"xray/{name}", _pixels(path), step)
    finally:
        events.close()


def _pixels(path: Path) -> torch.Tensor:
    """Read a PNG back as (3, height, width), 0 to 1."""
    from matplotlib.image import imread

    return torch.from_numpy(imread(path)[..., :3].copy()).permute(2, 0, 1)
