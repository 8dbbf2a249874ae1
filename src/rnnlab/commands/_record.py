"""What a run's folder says about the run: what was asked, what was built, how it stands."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import nn

from rnnlab import __version__
from rnnlab.commandline.compose import Request
from rnnlab.runs import run_name, write_json
from rnnlab.tasks import Task

STOPPED = (129, 130, 143)


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


def record_result(folder: Path, status: str, facts: dict[str, Any], error: BaseException | None = None) -> None:
    """Write result.json.

    Args:
        folder: the run's folder.
        status: running, done, or failed; an error that is a stop after saving makes it stopped.
        facts: metrics, steps, seconds and so on.
        error: what ended the run, if it failed.
    """
    exit_code: int | None = 0 if status == "done" else None
    if error is not None:
        of_this_kind = 130 if isinstance(error, KeyboardInterrupt) else 1
        exit_code = getattr(error, "exit_code", of_this_kind)
        status = "stopped" if exit_code in STOPPED else "failed"
        facts = {**facts, "error": f"{type(error).__name__}: {error}"[:500]}
    write_json(folder / "result.json", {"status": status, "exit_code": exit_code, "pid": os.getpid(), **facts})


def num_parameters(model: nn.Module) -> int:
    """Trained numbers of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _git_commit() -> str | None:
    """The commit of the checkout rnnlab runs from; None outside one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
