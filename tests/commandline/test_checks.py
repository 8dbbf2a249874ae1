"""Ranges and contradictions, all told at once, both settings named."""

from __future__ import annotations

from typing import Any

import pytest

from rnnlab import config as c
from rnnlab.commandline.checks import problems

TASKS = {"sentiment": c.SentimentConfig, "next_word": c.NextWordConfig, "music": c.MusicConfig}
DRAWN = {"adding": c.AddingConfig, "copy": c.CopyConfig, "ball": c.BallConfig}


def settings(task: str = "sentiment", **sections: dict[str, Any]) -> c.TrainConfig:
    """Right settings for a task, with changes by section."""
    trainer = {"bptt_len": 35 if task == "next_word" else None, **sections.pop("trainer", {})}
    optimizer = sections.pop("optimizer", c.AdamConfig(name="adam", lr=0.1))
    scheduler = sections.pop("scheduler", c.SchedulerConfig(name="constant"))
    return c.TrainConfig(
        task=DRAWN[task](name=task) if task in DRAWN else TASKS[task](name=task, corpus="x"),
        model=c.ModelConfig(**{"cell": c.Cell.lstm, **sections.pop("model", {})}),
        optimizer=optimizer,
        scheduler=scheduler,
        trainer=c.TrainerConfig(**trainer),
        **sections.pop("top", {}),
    )


@pytest.mark.parametrize("task", [*TASKS, *DRAWN])
def test_right_settings_have_no_problems(task: str):
    assert problems(settings(task)) == []


def test_a_value_out_of_range_is_told_with_its_key_and_limit():
    assert problems(settings(model={"hidden_size": 0})) == ["model.hidden_size must be at least 1, got 0"]
    assert problems(settings(model={"dropout": 1.0})) == ["model.dropout must be below 1, got 1.0"]
    assert problems(settings(optimizer=c.AdamConfig(name="adam", lr=0.0))) == ["optimizer.lr must be above 0, got 0.0"]
    assert problems(settings(top={"seed": 2**32})) == ["seed must be below 4294967296, got 4294967296"]
    assert problems(settings(top={"name": ""})) == ["name must be at least 1 character long, got ''"]


def test_everything_is_told_at_once():
    wrong = settings(model={"hidden_size": 0, "num_layers": 99}, trainer={"batch_size": 0}, top={"seed": -1})
    assert len(problems(wrong)) == 4


LM = {"task": "next_word"}
SGD = {"name": "sgd", "lr": 0.1}
GRAPH = {"cuda_graph": True}
CONTRADICTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"trainer": {**GRAPH, "devices": 2}}, ["trainer.cuda_graph=true", "trainer.devices=2"]),
    ({"trainer": {**GRAPH, "device": c.Device.cpu}}, ["trainer.cuda_graph=true", "trainer.device=cuda, got cpu"]),
    (
        {"trainer": GRAPH, "optimizer": c.RMSpropConfig(name="rmsprop", lr=0.1)},
        ["trainer.cuda_graph=true", "optimizer=rmsprop"],
    ),
    ({**LM, "trainer": GRAPH, "model": {"sampled_words": 9}}, ["trainer.cuda_graph=true", "model.sampled_words=9"]),
    (
        {**LM, "trainer": GRAPH, "model": {"decoder": c.Decoder.adaptive}},
        ["trainer.cuda_graph=true", "model.decoder=adaptive"],
    ),
    ({"model": {"nonlinearity": c.Nonlinearity.relu}}, ["model.nonlinearity=relu", "model.cell=lstm"]),
    ({"model": {"initialisation": c.Initialisation.identity}}, ["model.initialisation=identity", "model.cell=lstm"]),
    ({"model": {"cell": c.Cell.gru, "forget_gate_bias": 1.0}}, ["model.forget_gate_bias", "model.cell=gru"]),
    ({"model": {"cell": c.Cell.gru, "zoneout_cell": 0.5}}, ["model.zoneout_cell", "model.cell=gru"]),
    ({"model": {"init_range": 0.1}}, ["model.init_range", "model.initialisation=default"]),
    ({"model": {"initialisation": c.Initialisation.uniform}}, ["model.initialisation=uniform", "model.init_range"]),
    ({**LM, "model": {"bidirectional": True}}, ["model.bidirectional=true", "task=next_word", "it would see the word"]),
    ({"task": "music", "model": {"bidirectional": True}}, ["model.bidirectional=true", "task=music"]),
    ({**LM, "model": {"pooling": c.Pooling.max}}, ["model.pooling=max", "task=next_word"]),
    ({"model": {"tie_weights": True}}, ["model.tie_weights=true", "task=sentiment"]),
    (
        {**LM, "model": {"tie_weights": True, "embedding": c.Embedding.one_hot}},
        ["model.tie_weights=true", "model.embedding=learned", "one_hot"],
    ),
    (
        {**LM, "model": {"tie_weights": True, "embedding_size": 100, "hidden_size": 64}},
        ["model.tie_weights=true", "model.embedding_size", "model.hidden_size", "100 and 64"],
    ),
    ({**LM, "model": {"cutoffs": [10]}}, ["model.cutoffs", "model.decoder=adaptive", "model.decoder=full", "[10]"]),
    ({"model": {"decoder": c.Decoder.adaptive}}, ["model.decoder=adaptive", "task=sentiment"]),
    (
        {**LM, "model": {"decoder": c.Decoder.adaptive, "tie_weights": True}},
        ["model.tie_weights=true", "model.decoder=adaptive"],
    ),
    ({**LM, "model": {"decoder": c.Decoder.adaptive, "cutoffs": [9, 9]}}, ["model.cutoffs", "rising", "[9, 9]"]),
    ({**LM, "model": {"decoder": c.Decoder.adaptive, "cutoffs": [0, 9]}}, ["model.cutoffs", "from 1 on", "[0, 9]"]),
    ({**LM, "model": {"decoder": c.Decoder.adaptive, "cutoffs": []}}, ["model.cutoffs", "[]"]),
    ({"model": {"sampled_words": 9}}, ["model.sampled_words=9", "task=next_word", "task=sentiment"]),
    (
        {**LM, "model": {"sampled_words": 9, "decoder": c.Decoder.adaptive}},
        ["model.sampled_words=9", "model.decoder=full"],
    ),
    ({"trainer": {"bptt_len": 35}}, ["trainer.bptt_len=35", "task=sentiment", "whole"]),
    ({**LM, "trainer": {"bptt_len": None}}, ["trainer.bptt_len", "task=next_word"]),
    ({"task": "music", "trainer": {"random_bptt": True}}, ["trainer.random_bptt=true", "task=music"]),
    ({"trainer": {"max_epochs": None}}, ["trainer.max_epochs", "trainer.max_steps", "trainer.max_minutes"]),
    (
        {"scheduler": c.CosineConfig(name="cosine"), "trainer": {"max_epochs": None, "max_minutes": 1.0}},
        ["scheduler=cosine", "trainer.max_epochs", "trainer.max_steps"],
    ),
    (
        {"scheduler": c.CosineConfig(name="cosine", warmup_steps=50), "trainer": {"max_steps": 50}},
        ["scheduler.warmup_steps", "trainer.max_steps=50", "got 50", "try 5"],
    ),
    ({"optimizer": c.SGDConfig(**SGD, nesterov=True)}, ["optimizer.nesterov=true", "optimizer.momentum"]),
    ({"trainer": {"averaging_start_epoch": 2}}, ["trainer.averaging_start_epoch=2", "trainer.averaging=none"]),
    ({"top": {"name": "a", "resume": "b"}}, ["resume=b", "name=a"]),
    ({"task": "ball", "model": {"bidirectional": True}}, ["model.bidirectional=true", "task=ball", "one direction"]),
    ({"task": "copy", "model": {"pooling": c.Pooling.max}}, ["model.pooling=max", "task=copy"]),
    ({"task": "adding", "model": {"tie_weights": True}}, ["model.tie_weights=true", "task=adding"]),
    ({"task": "ball", "model": {"embedding": c.Embedding.one_hot}}, ["model.embedding=one_hot", "task=ball"]),
    ({"task": "copy", "model": {"decoder": c.Decoder.adaptive}}, ["model.decoder=adaptive", "task=copy"]),
    ({"task": "copy", "model": {"sampled_words": 3}}, ["model.sampled_words=3", "task=copy"]),
    ({"task": "adding", "trainer": {"bptt_len": 9}}, ["trainer.bptt_len=9", "task=adding"]),
    ({"task": "adding", "trainer": {"auto_bptt_len": True}}, ["trainer.auto_bptt_len=true", "task=adding"]),
    ({"task": "copy", "trainer": {"auto_bptt_len": True}}, ["trainer.auto_bptt_len=true", "trainer.bptt_len", "null"]),
    ({"task": "ball", "trainer": {"random_bptt": True}}, ["trainer.random_bptt=true", "task=ball"]),
]


@pytest.mark.parametrize(("changes", "words"), CONTRADICTIONS)
def test_a_contradiction_names_both_settings(changes: dict[str, Any], words: list[str]):
    found = problems(settings(**changes))
    assert len(found) == 1, found
    assert all(word in found[0] for word in words), found[0]


RIGHT: list[dict[str, Any]] = [
    {"model": {"cell": c.Cell.rnn, "nonlinearity": c.Nonlinearity.relu, "initialisation": c.Initialisation.identity}},
    {"model": {"initialisation": c.Initialisation.uniform, "init_range": 0.05, "forget_gate_bias": 1.0}},
    {"model": {"bidirectional": True, "pooling": c.Pooling.attention}},
    {**LM, "model": {"tie_weights": True}, "trainer": {"random_bptt": True}},
    {"task": "music", "trainer": {"bptt_len": 128}},
    {"task": "copy", "trainer": {"bptt_len": 9}, "model": {"tie_weights": True}},
    {"optimizer": c.SGDConfig(**SGD, momentum=0.9, nesterov=True)},
    {"scheduler": c.CosineConfig(name="cosine"), "trainer": {"max_epochs": None, "max_steps": 101}},
    {"scheduler": c.CosineConfig(name="cosine", warmup_steps=0), "trainer": {"max_steps": 1}},
    {"trainer": {"averaging": c.Averaging.ema, "averaging_start_epoch": 2}},
]


@pytest.mark.parametrize("changes", RIGHT)
def test_what_goes_together_is_let_through(changes: dict[str, Any]):
    assert problems(settings(**changes)) == []
