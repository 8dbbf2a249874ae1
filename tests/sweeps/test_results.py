from __future__ import annotations

import shlex

import pytest

from rnnlab.sweeps.results import best, configurations, summary

from .conftest import MakeJob


def test_seeds_of_a_configuration_are_summed_up_and_the_best_is_chosen_by_validation(make_job: MakeJob):
    jobs = [
        make_job("0", 3.0, configuration="a", model="rnn", seed="0"),
        make_job("1", 5.0, configuration="a", model="rnn", seed="1"),
        make_job("2", 2.0, configuration="b", model="gru", seed="0"),
        make_job("3", 4.0, configuration="b", model="gru", seed="1"),
    ]
    found = configurations(jobs)
    assert [one.varied for one in found] == [{"model": "rnn"}, {"model": "gru"}]
    assert [one.valid.mean for one in found if one.valid] == [4.0, 3.0]
    assert [one.test.mean for one in found if one.test] == [5.0, 4.0]
    (leader,) = best(found)
    assert leader.best_job() is jobs[2]
    assert leader.command() == "rnnlab train -m model=gru seed=0,1"
    plain = summary(jobs)
    assert plain["best"][0]["job"] == "s/2"
    assert plain["configurations"][0]["valid"]["half_width"] == pytest.approx(12.706, abs=1e-3)


def test_a_higher_accuracy_is_better(make_job: MakeJob):
    jobs = [
        make_job(str(n), value, metric="valid/accuracy", configuration=str(n)) for n, value in enumerate((0.7, 0.9))
    ]
    (leader,) = best(configurations(jobs))
    assert leader.jobs == [jobs[1]]


def test_a_lucky_seed_does_not_beat_a_configuration_with_all_of_its_seeds(make_job: MakeJob):
    jobs = [
        make_job("0", 1.0, configuration="lucky", seed="0"),
        make_job("1", configuration="lucky", seed="1"),
        make_job("2", 2.0, configuration="whole", seed="0"),
        make_job("3", 2.0, configuration="whole", seed="1"),
    ]
    (leader,) = best(configurations(jobs))
    assert leader.jobs == jobs[2:]


def test_scores_of_other_data_are_not_held_against_each_other(make_job: MakeJob):
    jobs = [make_job("0", 1.0, configuration="a"), make_job("1", 2.0, configuration="b")]
    jobs[1].data = "another corpus"
    assert [one.jobs for one in best(configurations(jobs))] == [[jobs[0]], [jobs[1]]]


def test_the_command_is_one_the_shell_takes(make_job: MakeJob):
    job = make_job("0", 1.0, **{"task.corpus": "'a b'"})
    job.options = ["--config-dir=/x y"]
    (one,) = configurations([job])
    assert shlex.split(one.command()) == ["rnnlab", "train", "--config-dir=/x y", "task.corpus='a b'"]


def test_nothing_done_is_nothing_best(make_job: MakeJob):
    assert best(configurations([make_job("0")])) == []
