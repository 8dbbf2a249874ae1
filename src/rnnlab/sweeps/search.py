"""A search: Optuna proposes values, hears the validation scores as they come, and stops trials that fall behind.

The study is a journal in the sweep's folder. Each proposal is drawn with a seed of its own, so that a search that was
stopped and goes on proposes what the uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep

from rnnlab.commandline.overrides import value_texts
from rnnlab.config import Sampler, SearchConfig
from rnnlab.errors import CheckpointError, ConfigError
from rnnlab.sweeps.jobs import FINAL, Job

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
STUDY = "rnnlab"


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both ends included; whole ones if `step` is whole."""

    low: float
    high: float
    step: float | None
    log: bool


class Search:
    """The trials of a study, each a job."""

    def __init__(
        self,
        folder: Path,
        space: dict[str, Override],
        settings: SearchConfig,
        job_of: Callable[[dict[str, str]], Job],
        *,
        higher_is_better: bool,
    ) -> None:
        """Open the study, or make it.

        Args:
            folder: The sweep's.
            space: Setting -> the values to search.
            settings: Of the search.
            job_of: The job of some values; it may be one that ran before.
            higher_is_better: Whether the score is to grow.

        Raises:
            ConfigError: Optuna is not installed.
            CheckpointError: The journal is damaged.
        """
        self._optuna = optuna = import_optuna()
        self._space = {key: read_space(entry) for key, entry in space.items()}
        self._settings = settings
        self._job_of = job_of
        self._trials: dict[str, optuna.Trial] = {}
        self._reported: dict[str, int] = {}
        backend = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
        startup = settings.n_startup_trials
        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup) if settings.prune else optuna.pruners.NopPruner()
        try:
            self.study = optuna.create_study(
                storage=optuna.storages.JournalStorage(backend),
                study_name=STUDY,
                load_if_exists=True,
                direction="maximize" if higher_is_better else "minimize",
                pruner=pruner,
            )
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{folder / JOURNAL} is damaged: {str(error)[:80]}") from None
        # Those that a stopped search left: they go on first.
        waiting = self.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING])
        self._left = [optuna.trial.Trial(self.study, trial._trial_id) for trial in waiting]

    def next(self) -> Job | None:
        """Return the job of the next trial; a trial that repeats a finished one is settled without running."""
        while (trial := self._next_trial()) is not None:
            job = self._job_of(self._values(trial))
            if job.name in self._trials:  # another trial is at the same values just now
                self.study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                continue
            self._trials[job.name] = trial
            if job.status not in FINAL and job.exit_code != ConfigError.exit_code:
                return job
            self.ended(job)
        return None

    def watch(self, job: Job) -> bool:
        """Report a new validation score of a job that runs; return whether it falls behind."""
        scored = job.score()
        steps = job.result().get("steps")
        if scored is None or not isinstance(steps, int):
            return False
        trial = self._trials[job.name]
        if self._reported.get(job.name, -1) < steps:
            self._reported[job.name] = steps
            trial.report(scored[1], steps)
        return trial.should_prune()  # asked again without news: other trials may have ended since

    def ended(self, job: Job) -> None:
        """Tell the study how a trial went; one that was stopped or crashed stays open, to go on next time."""
        trial, states = self._trials.pop(job.name), self._optuna.trial.TrialState
        scored = job.score()
        if job.status == "done" and scored is not None:
            self.study.tell(trial, scored[1])
        elif job.status in ("pruned", "diverged"):
            # Not FAIL, which samplers pass over: those values are bad, and that is worth knowing.
            self.study.tell(trial, state=states.PRUNED)
        elif job.exit_code == ConfigError.exit_code:
            self.study.tell(trial, state=states.FAIL)

    def _next_trial(self) -> optuna.Trial | None:
        """Return a trial that was left open, else a new one, else None."""
        if self._left:
            return self._left.pop(0)
        number = len(self.study.get_trials(deepcopy=False))
        if number >= self._settings.n_trials:
            return None
        samplers, seed = self._optuna.samplers, 1_000_003 * self._settings.seed + number
        if self._settings.sampler is Sampler.random or number < self._settings.n_startup_trials:
            self.study.sampler = samplers.RandomSampler(seed=seed % 2**32)
        else:
            startup = min(self._settings.n_startup_trials, number)
            self.study.sampler = samplers.TPESampler(seed=seed % 2**32, n_startup_trials=startup)
        return self.study.ask()

    def _values(self, trial: optuna.Trial) -> dict[str, str]:
        """Draw a trial's values, or read them again."""
        values: dict[str, str] = {}
        for key, space in self._space.items():
            if isinstance(space, list):
                values[key] = str(trial.suggest_categorical(key, space))
            elif isinstance(space.low, int) and isinstance(space.step, int):
                values[key] = str(trial.suggest_int(key, space.low, int(space.high), step=space.step, log=space.log))
            else:
                value = trial.suggest_float(key, space.low, space.high, step=space.step, log=space.log)
                text = f"{value:.4g}"  # what people can read and type; the rest makes no difference
                values[key] = text if space.low <= float(text) <= space.high else repr(value)
        return values


def read_space(override: Override) -> Range | list[str]:
    """Read what Hydra's grammar makes of `interval(...)`, `range(...)`, `choice(...)` and lists.

    Raises:
        ConfigError: An empty range, or a logarithmic one that begins below what has a logarithm.
    """
    key, value = override.key_or_group, override.value()
    match value:
        case IntervalSweep(start=float() | int() as low, end=float() | int() as high):
            step = 1 if isinstance(low, int) and isinstance(high, int) else None
        case RangeSweep(step=step) if isinstance(value.start, int | float) and not value.shuffle:
            texts = value_texts(override)
            kind = int if all(isinstance(number, int) for number in (value.start, value.stop, step)) else float
            low, high = kind(texts[0]), kind(texts[-1])
            if low > high:
                low, high, step = high, low, -step
        case ChoiceSweep():
            return value_texts(override)
        case _:
            raise ConfigError(f"{key}: a search takes interval(a,b), range(a,b), or a list of values")
    log = "log" in value.tags
    if not low <= high:
        raise ConfigError(f"{key}: the interval must go from low to high, got {low} to {high}")
    if log and low <= 0:
        raise ConfigError(f"{key}: a logarithmic interval must begin above 0, got {low}")
    if log and isinstance(value, RangeSweep) and step != 1:
        raise ConfigError(f"{key}: a logarithmic range takes no step, got {step}; try interval({low},{high})")
    return Range(low, high, None if log and not isinstance(low, int) else step, log)


def import_optuna():
    """Import Optuna, quiet.

    Raises:
        ConfigError: It is not installed, or too old.
    """
    try:
        import optuna
        import optuna.storages.journal
    except ImportError:
        raise ConfigError('hydra/sweeper=optuna needs Optuna 5: pip install "rnnlab[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
