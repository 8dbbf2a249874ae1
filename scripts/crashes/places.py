"""Places in a run's life at which it can be struck, and ways to forget: patches for a child before its command runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from crashes.forks import Before
from rnnlab import startup
from rnnlab.commands import train as train_module
from rnnlab.tasks.base import Scores
from rnnlab.training import events, savepoints
from rnnlab.training.savepoints import Savepoints
from rnnlab.training.scoring import Scoring
from rnnlab.training.trainer import Trainer

Act = Callable[[], None]


def die() -> None:
    """Be killed."""
    os.kill(os.getpid(), signal.SIGKILL)


def tell_at_first_step(tell: Act) -> None:
    """Tell when the first step of this process is made."""
    at_call(Trainer, "_step", tell, after=True)(tell)


def tell_at_once(tell: Act) -> None:
    """Tell when the command has put up its handlers, before it does anything."""
    begin = startup.begin

    def begun(**keywords: Any) -> None:
        tell()
        begin(**keywords)

    startup.begin = begun


def at_step(number: int, act: Act = die, *, after: bool = False) -> Before:
    """Act when `number` updates are made, before the next, or right after it."""
    return _around(Trainer, "_step", act, lambda trainer: trainer.counters.step == number, after=after)


def at_call(owner: type, method: str, act: Act = die, nth: int = 1, *, after: bool = False) -> Before:
    """Act before the nth call of a method of the trainer or one of its parts in this process, or after it."""
    calls: list[int] = []

    def is_it(part: Any) -> bool:
        calls.append(1)
        return len(calls) == nth

    return _around(owner, method, act, is_it, after=after)


def in_evaluation(act: Act = die, split: str = "valid") -> Before:
    """Act in the middle of scoring a split."""

    def before(tell: Act) -> None:
        score, evaluate = Scoring.score, torch.nn.Module.eval
        struck = split

        def scored(self: Scoring, split: str, between_windows: Act | None = None) -> Scores:
            if split == struck:
                # The scoring itself puts the model into evaluation mode, once its windows are made.
                def evaluating(self: torch.nn.Module) -> torch.nn.Module:
                    torch.nn.Module.eval = evaluate
                    act()
                    return evaluate(self)

                torch.nn.Module.eval = evaluating
            return score(self, split, between_windows)

        Scoring.score = scored

    return before


def in_reading(act: Act = die) -> Before:
    """Act while the corpus is read: before there is a run."""

    def before(tell: Act) -> None:
        build = train_module.build_task

        def built(*arguments: Any) -> Any:
            task = build(*arguments)
            train_module.build_task = build
            act()
            return task

        train_module.build_task = built

    return before


def write_events_at_once(tell: Act) -> None:
    """Let no TensorBoard record wait in memory, where a kill would take it: what must be cut off is there to be cut."""
    events.FLUSH_SECONDS = -1


def both(*patches: Before) -> Before:
    """Put several patches together."""

    def before(tell: Act) -> None:
        for patch in patches:
            patch(tell)

    return before


def _around(owner: type, method: str, act: Act, is_it: Callable[[Any], bool], *, after: bool = False) -> Before:
    def before(tell: Act) -> None:
        real = getattr(owner, method)

        def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
            struck = is_it(self)
            if struck and not after:
                act()
            result = real(self, *arguments, **keywords)
            if struck and after:
                act()
            return result

        setattr(owner, method, call)

    return before


# Where a run of 24 steps, evaluated every 6 and saved every 4, is killed; in this order, one after another.
PLACES: dict[str, Before] = {
    "before the first checkpoint": at_step(2),
    "when the first checkpoint is due": at_call(Savepoints, "save"),
    "in the middle of a pass": at_step(9),
    "between two passes": _around(
        Trainer, "_train_epoch", die, lambda run: (run.counters.epoch, run.counters.index) == (1, 0)
    ),
    "before an evaluation": at_call(Trainer, "_evaluate"),
    "in an evaluation": in_evaluation(),
    "between evaluation and checkpoint": at_call(Trainer, "_evaluate", after=True),
    "after the last step": at_step(23, after=True),
    "before the test score": at_call(Scoring, "test"),
    "in the test score": in_evaluation(split="test"),
    "after the test score": at_call(Scoring, "test", after=True),
}


def forgetting(forget: Callable[[dict[str, Any]], None]) -> Before:
    """Let a resumed run forget a part of what its checkpoint holds."""

    def before(tell: Act) -> None:
        load = savepoints.load_training

        def loaded(*arguments: Any, **keywords: Any) -> Any:
            weights, saved = load(*arguments, **keywords)
            forget(saved)
            return weights, saved

        savepoints.load_training = loaded

    return before


def _drop_state(saved: dict[str, Any]) -> None:
    saved["state"] = None


def _drop_generator(saved: dict[str, Any]) -> None:
    saved["rng"]["cpu"] = torch.Generator().manual_seed(1).get_state()


def _drop_optimizer(saved: dict[str, Any]) -> None:
    saved["optimizer"]["state"] = {}


def _drop_schedule(saved: dict[str, Any]) -> None:
    saved["schedule"] = {}


def _drop_average(saved: dict[str, Any]) -> None:
    saved["averaged"]["n_averaged"].zero_()


def _drop_position(saved: dict[str, Any]) -> None:
    saved["counters"]["index"] = 0


def _drop_pass(saved: dict[str, Any]) -> None:
    saved["counters"]["epoch"] += 1


def _drop_sums(saved: dict[str, Any]) -> None:
    saved["counters"].update(sum_nats=0.0, sum_targets=0, sum_steps=0, sum_clipped=0)


def _drop_best(saved: dict[str, Any]) -> None:
    saved["counters"].update(best_score=float("nan"), best_step=-1)


def _drop_patience(saved: dict[str, Any]) -> None:
    saved["counters"]["without_gain"] = 0


def _keep_events(saved: dict[str, Any]) -> None:
    saved["events"] = dict.fromkeys(saved["events"], 10**9)


def _keep_lines(saved: dict[str, Any]) -> None:
    saved["metrics_bytes"] = 10**9


# What is left out -> how, and the variant of the settings that needs it.
CONTROLS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "carried state": (_drop_state, "plain"),
    "torch's generator": (_drop_generator, "plain"),
    "optimizer": (_drop_optimizer, "momentum"),
    "schedule": (_drop_schedule, "plateau"),
    "average": (_drop_average, "average"),
    "position in the pass": (_drop_position, "plain"),
    "number of the pass": (_drop_pass, "random windows"),
    "sums since the last log line": (_drop_sums, "plain"),
    "best score": (_drop_best, "early stopping"),
    "patience": (_drop_patience, "early stopping"),
    "cut of the event files": (_keep_events, "plain"),
    "cut of metrics.jsonl": (_keep_lines, "plain"),
}
