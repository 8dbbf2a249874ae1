"""Tasks that other packages bring, found by the entry points of the group `rnnlab.tasks`. No torch, no Hydra.

A package says in its pyproject.toml

    [project.entry-points."rnnlab.tasks"]
    rhyme = "rhymes:TASK"

and `rhymes.TASK` is a `TaskPlugin`: from then on `task=rhyme` works as the tasks of this package do. Nothing that a
package brings takes the place of a task of ours. What is installed may run code anyway; a configuration still may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from rnnlab.config import TaskConfig, TrainerConfig
from rnnlab.errors import ConfigError

ENTRY_POINTS = "rnnlab.tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPlugin:
    """What makes a name a task.

    Attributes:
        about: One line for `rnnlab train --help`.
        settings: The schema of `task.*`: a dataclass (kw_only, slots) below `TaskConfig` whose fields have defaults,
            `name` the entry point's, and are annotated as those of `rnnlab.config` are: type, range, doc.
        build: (settings, trainer settings, seed) -> `rnnlab.tasks.Task`, its corpus not read yet. Called when a run
            starts: what needs torch is imported inside.
        presets: What the task sets in other sections: {"trainer": {"bptt_len": 35}}.
    """

    about: str
    settings: type[TaskConfig]
    build: Callable[[Any, TrainerConfig, int], Any]
    presets: Mapping[str, Any] = field(default_factory=dict)


def task_names() -> list[str]:
    """Return the tasks that installed packages bring, sorted; none of them is loaded."""
    return sorted(_points())


def task_plugin(name: str) -> TaskPlugin | None:
    """Load a task that an installed package brings; None if none does.

    Raises:
        ConfigError: it cannot be imported, or is not what a `TaskPlugin` has to be.
    """
    point = _points().get(name)
    if point is None:
        return None
    source = f"task={name} comes from {point.value}" + (f" of {point.dist.name}" if point.dist else "")
    try:
        plugin = point.load()
    except Exception as error:  # of somebody else's module: it may be anything
        raise ConfigError(f"{source}, which cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(plugin, TaskPlugin):
        raise ConfigError(f"{source}, which is a {type(plugin).__name__}, wanted a rnnlab.plugins.TaskPlugin")
    schema = plugin.settings
    if not (isinstance(schema, type) and issubclass(schema, TaskConfig) and is_dataclass(schema)):
        raise ConfigError(f"{source}, whose settings are {schema!r}, wanted a dataclass below rnnlab.config.TaskConfig")
    given = next((one.default for one in schema.__dataclass_fields__.values() if one.name == "name"), None)
    if given != name:
        raise ConfigError(f"{source}, whose settings have the name {given!r}, wanted {name!r}")
    return plugin


def _points() -> dict[str, Any]:
    """Return the entry points by name; of two packages with one name the first that Python finds."""
    from importlib.metadata import entry_points  # 40 ms with the search: only where a name is not ours

    found: dict[str, Any] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, point)
    return found
