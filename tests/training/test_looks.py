"""Looks inside a model while it trains."""

import logging

import torch

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


class Opaque(torch.nn.Module):
    """A model whose layers stand under other names, as that of another package's task may."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *arguments, **named):
        return self.inner(*arguments, **named)


def test_a_model_that_cannot_be_looked_into_trains_without_and_the_log_says_so(lab, tmp_path, caplog):
    config = lab.config(xray_every=1, max_steps=2, num_samples=0)
    task = lab.task(config)
    model = Opaque(task.build_model(config.model))
    with caplog.at_level(logging.INFO, "rnnlab"):
        trainer = Trainer(task, model, config, tmp_path, torch.device("cpu"), report=lambda facts: None)
    trainer.fit()
    assert trainer.counters.step == 2
    assert "xray_share" not in trainer.facts()
    assert "trainer.xray_every: task=next_word has no recurrent layers of rnnlab.cells to look into" in caplog.text
