"""The settings as data: which plain values are values of which setting."""

from __future__ import annotations

import math

import pytest

from rnnlab.config import SCHEMAS, TrainerConfig
from rnnlab.schema import forms, misfit, plain, settings

FITS = {
    "trainer.max_steps": [None, 1, 10**9],
    "trainer.histograms": [True, False],
    "optimizer.lr": [0.1, 1, 1e-12],
    "model.cell": ["rnn", "lstm"],
    "model.cutoffs": [None, [1, 2]],
    "task.a_setting_of_another_package": [{"any": "thing"}, 10**400],
}
MISFITS = {
    "trainer.max_steps": [0, -1, 1.5, True, "7", [], {}, 10**400, math.nan],
    "trainer.histograms": [0, 1, "true"],
    "optimizer.lr": [math.nan, math.inf, -1.0, "0.1", False, {"_target_": "trap"}],
    "model.cell": ["trap", 1, ["rnn"], {}],
    "model.cutoffs": ["1,2", 1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in FITS.items() for value in values])
def test_plain_data_that_is_a_value_fits(key, value):
    assert misfit(key, value) is None


@pytest.mark.parametrize("key", MISFITS)
def test_plain_data_that_is_no_value_is_told_with_what_is_wanted(key):
    for value in MISFITS[key]:
        wrong = misfit(key, value)
        assert wrong is not None, value
        assert wrong.startswith("must be ")
        assert len(wrong) < 200


def test_every_default_of_ours_fits():
    for group, kinds in {**SCHEMAS, "trainer": {"": TrainerConfig}}.items():
        for schema in kinds.values():
            for key, setting in settings(schema, f"{group}.").items():
                assert forms(key)
                if setting.default != "???":
                    assert misfit(key, plain(setting.default)) is None, key
