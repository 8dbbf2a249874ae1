"""From a command line with `-m` to what its jobs share, what varies, and the settings of each. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from rnnlab.commandline import overrides
from rnnlab.commandline.compose import Arguments, Request, compose, compose_request, menu_of, raise_together
from rnnlab.commandline.menu import Menu
from rnnlab.config import NO_HYPERPARAMETERS, SearchConfig
from rnnlab.errors import ConfigError
from rnnlab.schema import walk

_JOBS_CHECKED = 30  # of a sweep, before it starts: a second or two
LAUNCHERS = ("basic", "joblib", "submitit_local", "submitit_slurm")
SWEEPERS = ("basic", "optuna")


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What a sweep was asked to do.

    Attributes:
        arguments: The command line.
        fixed: Setting -> its text, the same for all jobs.
        varied: Setting -> the values it takes, in the order typed.
        launcher: One of LAUNCHERS.
        launcher_settings: Those below `hydra.launcher`.
        search: Settings of the search; None for a grid.
    """

    arguments: Arguments
    fixed: dict[str, str]
    varied: dict[str, Override]
    launcher: str
    launcher_settings: dict[str, Any]
    search: SearchConfig | None
    _composed: dict[tuple[str, ...], Request] = field(default_factory=dict, repr=False)

    def texts(self, values: dict[str, str]) -> list[str]:
        """Return the overrides of one job.

        Args:
            values: A text for each setting that varies.
        """
        return [f"{key}={text}" for key, text in {**self.fixed, **values}.items()]

    def compose(self, values: dict[str, str]) -> Request:
        """Compose and check the settings of one job.

        Raises:
            ConfigError: Values that do not go together.
        """
        texts = self.texts(values)
        key = tuple(texts)
        if key not in self._composed:  # a tenth of a second; what is looked at first is planned later
            self._composed[key] = compose_request(replace(self.arguments, texts=texts, free={}))
        return self._composed[key]

    @property
    def shared(self) -> str:
        """What makes this the sweep it is, as a key: the settings all jobs share and the names of those that vary.

        The values of a grid are left out, so that one more adds jobs to the same sweep; a search's are kept, because
        its trials learn from one another.
        """
        kept = [f"{key}={text}" for key, text in self.fixed.items() if key not in NO_HYPERPARAMETERS]
        parsed, _ = overrides.parse(kept, menu_of(self.arguments), sweep=False)
        fixed = {entry.key_or_group: next(overrides.values(entry), None) for entry in parsed}
        varied = {key: str(entry.value()) if self.search else "" for key, entry in self.varied.items()}
        return json.dumps([fixed, varied], sort_keys=True, default=str)


def read_sweep(arguments: Arguments) -> SweepRequest:
    """Take a sweep's command line apart, and look at each listed value once, with the first of the others.

    Raises:
        ConfigError: Anything that no job could start with.
    """
    menu = menu_of(arguments)
    parsed, found = overrides.parse(arguments.texts, menu, sweep=True)
    raise_together(found)
    own = {entry.key_or_group: entry for entry in parsed if not entry.is_hydra_override()}
    hydras = [str(entry.input_line) for entry in parsed if entry.is_hydra_override()]
    first = [f"{key}={text}" for key, entry in own.items() for text in overrides.value_texts(entry)[:1]]
    hydra = compose(replace(arguments, texts=[*hydras, *first]), sweep=True).hydra
    own = {**_from_file(hydra, menu), **own}
    request = SweepRequest(
        arguments,
        {key: overrides.value_texts(entry)[0] for key, entry in own.items() if not entry.is_sweep_override()},
        {key: entry for key, entry in own.items() if entry.is_sweep_override()},
        _chosen(hydra, "launcher", LAUNCHERS),
        _plain(hydra.launcher),
        _search(hydra),
    )
    _check_values(request)
    return request


def _check_values(request: SweepRequest) -> None:
    """Compose each listed value once, with the first of the others.

    Raises:
        ConfigError: What is wrong with them, all at once.
    """
    lists = {key: overrides.value_texts(entry) for key, entry in request.varied.items()}
    for key, entry in request.varied.items():
        if entry.is_interval_sweep() and request.search is None:
            raise ConfigError(f"{key}: an interval is for a search: add hydra/sweeper=optuna, or list values")
        if not lists[key]:
            raise ConfigError(f"{key}: this lists no value: {entry.input_line}")
    first = {key: texts[0] for key, texts in lists.items()}
    jobs = [first, *({**first, key: text} for key, texts in lists.items() for text in texts[1:])]
    found: list[str] = []
    for values in jobs[:_JOBS_CHECKED]:
        try:
            request.compose(values)
        except ConfigError as error:
            found += [line.strip() for line in str(error).splitlines() if not line.endswith("settings are wrong:")]
    raise_together(found)


def _from_file(hydra: DictConfig, menu: Menu) -> dict[str, Override]:
    """Read `hydra.sweeper.params` of a config file: what to sweep when the command line does not say."""
    params = _plain(hydra.sweeper).get("params") or {}
    parsed, found = overrides.parse([f"{key}={text}" for key, text in _dotted(params)], menu, sweep=True)
    raise_together([f"hydra.sweeper.params: {one}" for one in found])
    return {entry.key_or_group: entry for entry in parsed}


def _search(hydra: DictConfig) -> SearchConfig | None:
    """Return the settings of a search, checked; None for a grid.

    Raises:
        ConfigError: A value out of range, or a setting that rnnlab's sweeps do not have.
    """
    if _chosen(hydra, "sweeper", SWEEPERS) == "basic":
        if hydra.sweeper.max_batch_size is not None:
            raise ConfigError("hydra.sweeper.max_batch_size has no use here; --jobs says how many run side by side")
        return None
    if OmegaConf.get_type(hydra.sweeper) is not SearchConfig:
        raise ConfigError(
            "hydra/sweeper=optuna: the package hydra-optuna-sweeper is in the way; pip uninstall hydra-optuna-sweeper"
        )
    settings = OmegaConf.to_object(hydra.sweeper)
    assert isinstance(settings, SearchConfig)
    checked = ((setting, setting.problem(value)) for setting, value in walk(settings))
    raise_together([f"hydra.sweeper.{setting.key} {wrong}" for setting, wrong in checked if wrong])
    return settings


def _chosen(hydra: DictConfig, group: str, known: tuple[str, ...]) -> str:
    """Return which launcher or sweeper was chosen.

    Raises:
        ConfigError: One that rnnlab does not run.
    """
    name = str(hydra.runtime.choices[f"hydra/{group}"])
    if name not in known:
        raise ConfigError(f"hydra/{group} must be one of {', '.join(known)}, got {name}")
    return name


def _plain(node: DictConfig) -> dict[str, Any]:
    """Return settings as plain data; what they insert of Hydra's own is not needed."""
    content = OmegaConf.to_container(node, resolve=False, enum_to_str=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _dotted(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested keys as they would be typed."""
    found = []
    for key, value in tree.items():
        found += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found
