"""Looks inside a model while it trains."""

import pytest
import torch

from rnnlab.errors import ConfigError
from rnnlab.training.trainer import Trainer


def test_looking_inside_changes_no_weight_and_says_what_it_costs(lab, tmp_path, scalars):
    plain = lab.fit(tmp_path / "plain", lab.config(max_steps=6))
    looked = lab.fit(tmp_path / "looked", lab.config(max_steps=6, xray_every=3))
    for name, tensor in plain.model.state_dict().items():
        assert looked.model.state_dict()[name].equal(tensor)
    found = {tag: step for tag, step, _ in scalars(tmp_path / "looked") if tag.startswith("xray/")}
    assert found["xray/layer_0/lag_slope"] == found["xray/layer_0/memory_steps"] == 6
    assert not [tag for tag, _, _ in scalars(tmp_path / "plain") if tag.startswith("xray/")]
    assert 0 < looked.facts()["xray_share"] < 1
    assert "xray_share" not in plain.facts()


def test_a_model_that_cannot_be_looked_into_is_told_before_it_trains(lab, tmp_path):
    config = lab.config(xray_every=3)
    with pytest.raises(ConfigError, match="trainer.xray_every=3 cannot look into the model of task=next_word"):
        Trainer(lab.task(config), torch.nn.Linear(2, 2), config, tmp_path, torch.device("cpu"), report=print)
