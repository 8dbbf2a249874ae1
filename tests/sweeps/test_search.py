"""Optuna's part: proposals, what it is told, and what a stopped search goes on with. No job runs."""

from __future__ import annotations

from math import log10
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from rnnlab.config import SearchConfig
from rnnlab.errors import ConfigError
from rnnlab.sweeps.jobs import Job
from rnnlab.sweeps.search import Range, Search, read_space

from .conftest import run

LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


def parsed(*texts: str) -> dict:
    found = (OverridesParser.create().parse_override(text) for text in texts)
    return {override.key_or_group: override for override in found}


@pytest.fixture
def search(outputs: Path):
    """Open the study in outputs/s; its jobs by their values."""
    (outputs / "s").mkdir(parents=True)
    jobs: dict[str, Job] = {}

    def job_of(values: dict[str, str]) -> Job:
        own = ",".join(values.values())
        job = jobs.setdefault(own, Job(own, own, "data", values, []))
        job.name = f"s/{own}"
        return job

    def make(*texts: str, higher_is_better: bool = False, **settings) -> Search:
        space = parsed(*(texts or (LR,)))
        return Search(outputs / "s", space, SearchConfig(**settings), job_of, higher_is_better=higher_is_better)

    return make


def finish(search: Search, job: Job, value: float, status: str = "done") -> None:
    run(job, status, value)
    job.ended({"done": 0, "diverged": 5}[status])
    search.ended(job)


def distance(job: Job) -> float:
    """A bowl over log10 of the rate, lowest at 0.01."""
    return (log10(float(job.varied["optimizer.lr"])) + 2) ** 2


def play(search: Search) -> list[float]:
    """Run all trials; return the rates tried."""
    while (job := search.next()) is not None:
        finish(search, job, distance(job))
    return [trial.params["optimizer.lr"] for trial in search.study.trials]


def test_a_search_that_goes_on_tries_what_the_uninterrupted_one_tries(search, outputs: Path):
    play(search(n_trials=8))
    tried = play(search(n_trials=20))
    (outputs / "s/study.journal").unlink()
    assert play(search(n_trials=20)) == tried
    # Random trials come to 1 on the average, the integral of x^2 from -2 to 1 over 3; the last ones know better.
    assert sum((log10(rate) + 2) ** 2 for rate in tried[-8:]) / 8 < 0.5


def test_a_trial_that_was_stopped_goes_on_first_with_the_same_values(search):
    first = search(n_trials=3)
    done, killed = first.next(), first.next()
    finish(first, done, 1.0)
    killed.ended(-9)
    first.ended(killed)
    again = search(n_trials=3)
    assert again.next() is killed
    finish(again, killed, 2.0)
    last = again.next()
    assert last not in (done, killed)
    finish(again, last, 3.0)
    assert again.next() is None
    assert [trial.value for trial in again.study.trials] == [1.0, 2.0, 3.0]


def test_values_that_were_tried_are_not_run_again(search):
    found = search("model=rnn,gru", n_trials=9, n_startup_trials=9)
    ran = []
    while (job := found.next()) is not None:
        ran.append(job.varied["model"])
        finish(found, job, 1.0)
    assert sorted(ran) == ["gru", "rnn"]
    assert len(found.study.trials) == 9


def test_a_trial_behind_the_median_is_not_worth_going_on(search):
    found = search(n_trials=9, n_startup_trials=2)
    for value in (1.0, 2.0):
        job = found.next()
        run(job, "running", value)
        assert not found.watch(job), "the first ones are never stopped"
        finish(found, job, value)
    job = found.next()
    run(job, "running", 5.0)
    assert found.watch(job)
    assert found.watch(job), "asked again, the answer stands"
    job.status = "pruned"
    found.ended(job)
    assert [trial.state.name for trial in found.study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    job = found.next()
    run(job, "running", 1.2)
    assert not found.watch(job)


def test_nothing_is_pruned_when_it_is_off_and_higher_can_be_better(search):
    found = search(n_trials=9, n_startup_trials=1, prune=False, higher_is_better=True)
    for value in (0.9, 0.1):
        job = found.next()
        run(job, "running", value)
        assert not found.watch(job)
        finish(found, job, value)
    assert found.study.best_value == 0.9


def test_a_diverged_trial_tells_the_search_that_its_values_are_bad(search):
    found = search(n_trials=2)
    finish(found, found.next(), 1.0, "diverged")
    assert found.study.trials[0].state.name == "PRUNED"


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("x=interval(0.1,0.5)", Range(0.1, 0.5, None, False)),
        ("x=tag(log,interval(1e-4,1e-1))", Range(1e-4, 1e-1, None, True)),
        ("x=int(interval(1,5))", Range(1, 5, 1, False)),
        ("x=int(tag(log,interval(16,256)))", Range(16, 256, 1, True)),
        ("x=range(1,9,step=2)", Range(1, 7, 2, False)),
        ("x=range(9,1,step=-2)", Range(3, 9, 2, False)),
        ("x=range(0.5,2,0.5)", Range(0.5, 1.5, 0.5, False)),
        ("x=choice(1,2)", ["1", "2"]),
        ("x=rnn,lstm", ["rnn", "lstm"]),
    ],
)
def test_hydras_grammar_says_what_to_search(text: str, space: Range | list[str]):
    assert read_space(parsed(text)["x"]) == space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=interval(2,1)", "x: the interval must go from low to high, got 2.0 to 1.0"),
        ("x=tag(log,interval(0,1))", "x: a logarithmic interval must begin above 0, got 0.0"),
        ("x=tag(log,range(1,9,step=2))", "x: a logarithmic range takes no step, got 2"),
        ("x=shuffle(range(1,9))", "x: a search takes interval(a,b), range(a,b), or a list of values"),
    ],
)
def test_what_cannot_be_searched_is_told(text: str, message: str):
    with pytest.raises(ConfigError) as caught:
        read_space(parsed(text)["x"])
    assert message in str(caught.value)
