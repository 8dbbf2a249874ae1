import builtins
import logging

import numpy as np
import pytest
import torch

from rnnlab.training import figures
from rnnlab.training.figures import can_draw, confusion_figure, gates_figure, reliability, reliability_figure


def test_reliability_is_the_share_right_among_the_equally_sure():
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95], [0.92, 0.08], [0.4, 0.6], [1.0, 0.0]])
    targets = np.array([0, 0, 0, 1, 0])
    sure, right, count = reliability(targets, probabilities)
    assert count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 4]
    assert right[9] == 0.75
    assert sure[9] == pytest.approx((0.95 + 0.95 + 0.92 + 1.0) / 4)
    assert (right[6], sure[6]) == (1, 0.6)
    assert (right[:6] == 0).all()


def test_pictures_have_pixels_and_are_the_same_each_time():
    counts = np.array([[8, 2], [1, 9]])
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7]])
    gates = {"input": torch.rand(5, 70), "cell": torch.rand(5, 70) * 2 - 1}
    for draw in (
        lambda: confusion_figure(["neg", "pos"], counts),
        lambda: reliability_figure(np.array([0, 1]), probabilities),
        lambda: gates_figure(gates, ["a", "$", "\u2423", "\\n", "long word"]),
    ):
        first = draw()
        assert first.dtype == torch.uint8
        assert first.shape[0] == 3
        assert first.float().std() > 10, "not of one colour"
        assert first.equal(draw())


def test_gates_of_a_few_units_are_drawn_too():
    assert gates_figure({"hidden": torch.rand(3, 1)}, ["a", "b", "c"]).float().std() > 10


def test_letters_that_the_font_lacks_warn_nobody():
    assert gates_figure({"hidden": torch.rand(2, 1)}, ["天", "😀"]).float().std() > 10  # warnings are errors here


def test_a_confusion_matrix_of_other_counts_is_another_picture():
    first = confusion_figure(["neg", "pos"], np.array([[8, 2], [1, 9]]))
    assert not first.equal(confusion_figure(["neg", "pos"], np.array([[8, 2], [2, 8]])))


def test_without_matplotlib_one_line_says_how_to_get_it(monkeypatch, caplog):
    monkeypatch.setattr(figures.log, "propagate", True)
    load = builtins.__import__

    def missing(name, *arguments, **keywords):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return load(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", missing)
    can_draw.cache_clear()
    try:
        with caplog.at_level(logging.INFO, "rnnlab"):
            assert not can_draw()
            assert set(caplog.messages) == {
                'no figures in TensorBoard: they need matplotlib: pip install "rnnlab[plots]"'
            }
            caplog.clear()
            assert not can_draw()
            assert caplog.messages == []
    finally:
        can_draw.cache_clear()
