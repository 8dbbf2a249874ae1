"""What a resume may change: some settings always, some if `resume_allow` names them, the rest never."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnnlab.commandline.checks import problems
from rnnlab.commandline.compose import Request
from rnnlab.config import TrainConfig
from rnnlab.errors import ConfigError
from rnnlab.json_files import read_json, write_json
from rnnlab.schema import plain, settings
from rnnlab.tasks import Task
from rnnlab.training.fits import ALLOWABLE, CHANGEABLE
from rnnlab.wording import did_you_mean, listed

# Of this machine and this once: the next resume goes back to what the run was started with.
_NOT_KEPT = {"trainer.device", "trainer.profile", "trainer.threads", "trainer.tune_allocator"}
_SHOWN = 3  # settings in a message


@dataclass(slots=True)
class Changes:
    """What a resume changes.

    Attributes:
        values: (old, new) by dotted key, as plain data; those that stay as they are, too, are left out.
        allowed: keys that `resume_allow` names.
    """

    values: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    allowed: set[str] = field(default_factory=set)


def resume_changes(request: Request, config: TrainConfig) -> Changes:
    """Put what was typed into the settings of the run that goes on.

    Args:
        request: what was typed.
        config: of the run; changed in place.

    Raises:
        ConfigError: a setting that may not change, or that has no place in this run, or contradicts it.
    """
    changes = Changes(allowed=_named(request.settings.resume_allow))
    typed = [text.partition("=") for text in request.overrides]
    groups = {"task": config.task.name, "optimizer": config.optimizer.name, "scheduler": config.scheduler.name}
    keys = [
        key
        for key, _, value in typed
        if key not in ("resume", "resume_allow") and groups.get(key) != value  # the run's own choice changes nothing
    ]
    possible = {f"trainer.{name}" for name in CHANGEABLE} | changes.allowed
    if refused := [key for key in keys if key not in possible]:
        raise ConfigError(_refusal(refused))
    for key in keys:
        section, _, name = key.partition(".")
        ours, theirs = getattr(config, section), getattr(request.settings, section)
        if key not in settings(type(ours), f"{section}."):
            raise ConfigError(f"{key} is no setting of the run: its {section} is {ours.name}")
        old, new = getattr(ours, name), getattr(theirs, name)
        if old != new:
            setattr(ours, name, new)
            changes.values[key] = plain(old), plain(new)
    if wrong := problems(config):
        raise ConfigError("; ".join(wrong))
    return changes


def allowed_before(folder: Path) -> set[str]:
    """Settings that earlier resumes of a run were allowed to change, as run.json has it."""
    allowed = read_json(folder / "run.json").get("allowed")
    return set(ALLOWABLE).intersection(allowed) if isinstance(allowed, list) else set()


def record_changes(folder: Path, step: int, changes: Changes, task: Task) -> None:
    """Keep changes in run.json: another resume goes on with them.

    Raises:
        CannotWriteError: run.json cannot be written.
    """
    kept = {key: values for key, values in changes.values.items() if key not in _NOT_KEPT}
    path = folder / "run.json"
    content = read_json(path)
    other_corpus = content.get("corpus") != task.corpus and "task.corpus" in changes.allowed
    if not kept and not other_corpus:
        return
    for key, (_, new) in kept.items():
        section, _, name = key.partition(".")
        content["config"][section][name] = new
    if other_corpus:
        content["corpus"] = task.corpus
    before = content.get("changes")
    entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "step": step, "changed": kept}
    content["changes"] = [*(before if isinstance(before, list) else []), entry]
    content["allowed"] = sorted(allowed_before(folder) | changes.allowed)
    write_json(path, content)


def _named(text: str | None) -> set[str]:
    """Read `resume_allow`.

    Raises:
        ConfigError: it names a setting that cannot change in any way.
    """
    names = [name.strip() for name in (text or "").strip("[] ").split(",") if name.strip()]
    for name in names:
        if name not in ALLOWABLE:
            hint = did_you_mean(name, list(ALLOWABLE)) or ";"
            raise ConfigError(f"resume_allow: {name} cannot change in a run{hint} start a new one for others")
    return set(names)


def _refusal(refused: list[str]) -> str:
    """Say which settings cannot change, and what can be done."""
    more = len(refused) - _SHOWN
    named = listed([*refused[:_SHOWN], *([f"{more} more"] if more > 0 else [])], "and")
    could = [key for key in refused if key in ALLOWABLE]
    leave = f"leave all out but resume and trainer.{{{','.join(CHANGEABLE)}}}"
    if len(could) == len(refused):
        leave = f"to learn otherwise from here on, add resume_allow={','.join(could)}"
    return f"{named} cannot change: resume goes on with the settings in the run's run.json; {leave}"
