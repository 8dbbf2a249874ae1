"""Curves are what the events hold."""

from __future__ import annotations

import pytest

from rnnlab.reports.curves import EVENTS, Curve, read_curves
from rnnlab.training.events import EventLog


def write(run, points, offsets=None):
    log = EventLog(run, offsets)
    for step, values in points:
        log.scalars(values, step)
    log.text("samples/0", "no number", 1)
    kept = log.offsets()
    log.close()
    return kept


def test_every_number_comes_back_at_its_step(tmp_path):
    write(
        tmp_path, [(10, {"train/loss": 2.5, "optim/lr": 0.125}), (20, {"train/loss": 1.5}), (20, {"valid/loss": 1.75})]
    )
    curves = read_curves(tmp_path)
    assert list(curves) == ["train/loss", "optim/lr", "valid/loss"]
    assert curves["train/loss"] == Curve([10, 20], [2.5, 1.5])
    assert curves["valid/loss"] == Curve([20], [1.75])


def test_a_resumed_run_is_one_curve_and_the_later_file_counts(tmp_path):
    write(tmp_path, [(1, {"a": 1.0}), (2, {"a": 2.0})])
    write(tmp_path, [(2, {"a": 20.0}), (3, {"a": 3.0})])
    assert len(list(tmp_path.glob(EVENTS))) == 2
    assert read_curves(tmp_path)["a"] == Curve([1, 2, 3], [1.0, 20.0, 3.0])


def test_a_half_written_record_ends_its_file_and_nothing_else(tmp_path):
    write(tmp_path, [(1, {"a": 1.0}), (2, {"a": 2.0})])
    (path,) = tmp_path.glob(EVENTS)
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) - 40, 5, 0):
        path.write_bytes(content[:size])
        curves = read_curves(tmp_path)
        assert curves.get("a", Curve()).steps in ([1, 2], [1], [])


def test_what_is_not_finite_is_left_out(tmp_path):
    write(tmp_path, [(1, {"a": float("nan")}), (2, {"a": 2.0}), (3, {"a": float("inf")})])
    assert read_curves(tmp_path)["a"] == Curve([2], [2.0])


def test_a_folder_without_events_has_no_curves(tmp_path):
    assert read_curves(tmp_path) == {}


@pytest.mark.parametrize(
    ("tag", "best"),
    [("valid/accuracy", (2, 5.0)), ("valid/loss", (3, 1.0)), ("optim/lr", None), ("train/perplexity", (3, 1.0))],
)
def test_the_best_point_is_where_the_score_is_best(tag, best):
    assert Curve([1, 2, 3], [3.0, 5.0, 1.0]).best(tag) == best
    assert Curve().best(tag) is None
