"""What a run's folder says about the run: what was asked and what was built."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch import nn

from rnnlab import __version__
from rnnlab.cells.stack import RecurrentStack
from rnnlab.commandline.compose import Request
from rnnlab.json_files import write_json
from rnnlab.models import LanguageModel
from rnnlab.runs import run_name
from rnnlab.tasks import Task


def record_run(folder: Path, request: Request, task: Task, facts: dict[str, Any]) -> None:
    """Write `.hydra/` (what was asked), run.json (what was built, `facts` among it) and vocabulary.json."""
    asked = folder / ".hydra"
    asked.mkdir(exist_ok=True)  # a start that died before run.json left it
    OmegaConf.save(OmegaConf.create(request.config), asked / "config.yaml")
    OmegaConf.save(OmegaConf.create(request.overrides), asked / "overrides.yaml")
    write_json(folder / "vocabulary.json", task.dump())
    write_json(
        folder / "run.json",
        {
            "format": 1,
            "name": run_name(folder),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "config": request.config,
            "overrides": request.overrides,
            "config_dir": None if request.config_dir is None else str(request.config_dir),
            "working_directory": str(Path.cwd()),
            "choices": request.choices,
            "seed": request.settings.seed,
            "versions": {"rnnlab": __version__, "torch": torch.__version__, "python": platform.python_version()},
            "git_commit": _git_commit(),
            "corpus": task.corpus,
            "vocabulary_hash": task.vocabulary_hash,
            **facts,
        },
    )


def num_parameters(model: nn.Module) -> int:
    """Trained numbers of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def arithmetic_share(model: nn.Module, tokens_per_second: float, rate: float) -> float | None:
    """Estimate the share of a machine's matrix products that training reached; None for a model of unknown arithmetic.

    A weight matrix of the recurrence costs a token 6 operations an entry: 2 forward, 4 for both gradients. So does a
    language model's full decoder.

    Args:
        model: that was trained.
        tokens_per_second: of training.
        rate: operations a second of the machine.
    """
    recurrent = getattr(model, "recurrent", None)
    if not isinstance(recurrent, RecurrentStack):
        return None
    matrices = [parameter for parameter in recurrent.parameters() if parameter.dim() == 2]
    if isinstance(model, LanguageModel):
        if model.decoder_bias is None or model.sampled is not None:
            return None
        own = model.decoder_weight
        matrices.append(cast("nn.Parameter", model.embedding.weight if own is None else own))
    return round(6 * sum(matrix.numel() for matrix in matrices) * tokens_per_second / rate, 4)


def _git_commit() -> str | None:
    """The commit of the checkout rnnlab runs from; None outside one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
