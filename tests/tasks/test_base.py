"""What holds for all three tasks."""

import itertools
import json
import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from rnnlab.config import Cell, ModelConfig
from rnnlab.errors import CheckpointError, DataError
from rnnlab.models.layers import build_recurrent
from rnnlab.tasks import music, next_word
from rnnlab.tasks.base import SPLITS, score, stack_settings

CPU = torch.device("cpu")
METRICS = {"next_word": "perplexity", "sentiment": "accuracy", "music": "bits_per_char"}


def scored(task, model, split="valid", batch_size=64, **arguments):
    return score(task, model, split, batch_size=batch_size, device=CPU, **arguments)


def test_reading_a_corpus_fills_vocabulary_and_facts(tasks, name):
    task = tasks.read(name)
    assert task.corpus["vocab_size"] == len(task.vocabulary)
    assert len(task.corpus["sha256"]) == 64
    json.dumps(task.corpus)
    for split in SPLITS:
        assert len(task.score_windows(split, 4)) > 0


def test_a_missing_corpus_is_a_data_error(tasks, name):
    with pytest.raises(DataError, match="no corpus '/no/such/file'"):
        tasks.read(name, corpus="/no/such/file")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_scores_do_not_depend_on_batch_size_or_window_length(tasks, name, cell, monkeypatch):
    task = tasks.read(name)
    model = tasks.model(task, cell, num_layers=2)
    reference = scored(task, model)
    for batch_size, steps in ((1, 10_000), (3, 13), (64, 1)):
        monkeypatch.setattr(next_word, "SCORE_STEPS", steps)
        monkeypatch.setattr(music, "SCORE_STEPS", steps)
        again = scored(task, model, batch_size=batch_size)
        # Sums in float64 of losses in float32, each with seven digits.
        assert again.results() == pytest.approx(reference.results(), rel=1e-6)
        assert again.details() == reference.details()


@torch.no_grad()
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_score_is_that_of_reading_every_sequence_alone_step_by_step(tasks, name, cell):
    task = tasks.read(name)
    model = tasks.model(task, cell).double().eval()
    nats, count = 0.0, 0
    sequences = task._ids["test"][:4] if name == "music" else task._ids["test"]
    sequences = [sequences] if name == "next_word" else sequences
    if name == "music":  # four tunes are enough, one token a call takes its time
        task._ids["test"] = sequences
    for number, ids in enumerate(sequences):
        ids = torch.from_numpy(ids).long()
        state = None
        if name == "sentiment":
            logits, _ = model(ids[:, None])
            nats -= float(logits[0].log_softmax(-1)[task._classes["test"][number]])
            count += 1
            continue
        for token, target in itertools.pairwise(ids):
            logits, state = model(token.view(1, 1), state)
            nats -= float(logits[0, 0].log_softmax(-1)[target])
            count += 1
    # The task takes logits to float32 before the loss: seven digits a target.
    assert scored(task, model, "test").results()["loss"] == pytest.approx(nats / count, rel=1e-6)


def test_scores_name_the_loss_and_the_tasks_metric(tasks, name):
    task = tasks.read(name)
    assert task.metric == METRICS[name]
    results = scored(task, tasks.model(task)).results()
    assert {"loss", task.metric} <= set(results)
    assert all(np.isfinite(value) for value in results.values())
    json.dumps(scored(task, tasks.model(task)).details())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_model_and_generators_as_they_were(tasks, name, training):
    task = tasks.read(name)
    model = tasks.model(task, dropout=0.5, num_layers=2).train(training)
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    first = scored(task, model).results()
    task.samples(model, 2, 5, seed=0)
    assert torch.get_rng_state().equal(states[0])
    assert (str(np.random.get_state()), random.getstate()) == states[1:]
    assert all(tensor.equal(weights[key]) for key, tensor in model.state_dict().items())
    assert all(module.training is training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert scored(task, model).results() == first, "dropout is off, whatever the mode it came in"


def test_an_evaluation_that_fails_gives_the_model_back_in_its_mode(tasks, name, monkeypatch):
    task = tasks.read(name)
    model = tasks.model(task).train()
    monkeypatch.setattr(task, "nats", lambda model, outputs, window: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scored(task, model)
    assert model.training


def test_evaluation_keeps_no_graph(tasks, name):
    task = tasks.read(name)
    seen = []
    nats = task.nats
    task.nats = lambda model, outputs, window: seen.append(outputs.requires_grad) or nats(model, outputs, window)
    scored(task, tasks.model(task))
    assert seen
    assert not any(seen)


def test_autocast_is_used_for_every_window(tasks, name):
    task = tasks.read(name)
    seen = []
    nats = task.nats
    task.nats = lambda *given: seen.append(torch.is_autocast_enabled("cpu")) or nats(*given)
    exact = scored(task, tasks.model(task), batch_size=3, autocast=nullcontext()).results()["loss"]
    rounded = scored(task, tasks.model(task), batch_size=3, autocast=torch.autocast("cpu", torch.bfloat16))
    assert (set(seen[: len(seen) // 2]), set(seen[len(seen) // 2 :])) == ({False}, {True})
    # bfloat16 has 8 bits: each logit, of order 1, is off by a few thousandths.
    assert rounded.results()["loss"] == pytest.approx(exact, abs=0.03)


def test_the_measure_of_training_is_that_of_evaluation(tasks, name):
    task = tasks.read(name)
    results = scored(task, tasks.model(task)).results()
    share = results["accuracy"] if name == "sentiment" else 0.0
    assert task.measures(results["loss"], share)[task.metric] == pytest.approx(results[task.metric])


def test_every_training_target_is_seen_once_an_epoch(tasks, name):
    task = tasks.read(name)
    for epoch in (0, 1):
        windows = task.train_windows(epoch)
        assert sum(windows[index].num_targets for index in range(len(windows))) == windows.num_targets
    facts = task.corpus
    counts = {"next_word": "train_tokens", "sentiment": "train_texts", "music": "train_chars"}
    assert task.train_windows(0).num_targets == facts[counts[name]]


def test_an_epochs_windows_are_a_function_of_seed_and_epoch_alone(tasks, name):
    one, other = tasks.read(name), tasks.read(name)
    other.train_windows(0)
    for epoch in (3, 0):
        windows, again = one.train_windows(epoch), other.train_windows(epoch)
        assert len(windows) == len(again)
        assert all(windows[i].inputs.equal(again[i].inputs) for i in range(len(windows)))


def test_a_task_survives_being_written_down(tasks, name):
    task = tasks.read(name)
    content = json.loads(json.dumps(task.dump()))
    restored = tasks.new(name, corpus="/gone")
    restored.restore(content)
    assert restored.vocabulary == task.vocabulary
    assert restored.dump() == task.dump()


def test_a_restored_task_reads_its_corpus_with_the_runs_own_vocabulary(tasks, name):
    task = tasks.read(name)
    content = task.dump()
    tokens = content["tokens"]
    content["tokens"] = [*tokens[:3], *reversed(tokens[3:])]  # nobody would build this one
    restored = tasks.new(name)
    restored.restore(content)
    restored.read_corpus()
    assert list(restored.vocabulary) == content["tokens"]
    for split in SPLITS:
        new = {token: place for place, token in enumerate(content["tokens"])}
        ids = zip(*(np.concatenate([np.atleast_1d(x) for x in t._ids[split]]) for t in (task, restored)), strict=True)
        assert all(new[tokens[before]] == after for before, after in ids)
    assert restored.corpus["sha256"] != task.corpus["sha256"], "the vocabulary is part of the hash"


def test_the_hash_of_a_corpus_names_its_content(tasks, name, corpora, tmp_path):
    text = corpora[name].read_text()
    hashes = set()
    for number, changed in enumerate((text, text, text.replace("A2", "c2", 1), text.replace("cat", "dog", 1))):
        path = tmp_path / f"{number}{corpora[name].suffix}"
        path.write_text(changed)
        hashes.add(tasks.read(name, corpus=str(path)).corpus["sha256"])
    assert tasks.read(name).corpus["sha256"] in hashes
    assert len(hashes) == 2, "two copies have one hash, the changed text another"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "is of task '{name}' and format 2; wanted '{name}' and 1"),
        ({"task": "juggling"}, "is of task 'juggling' and format 1; wanted '{name}' and 1"),
        ({"tokens": ["a", "a"]}, "vocabulary.json is damaged: tokens must be distinct, got 'a' 2 times"),
        ({"tokens": []}, "vocabulary.json is damaged: a vocabulary needs at least one token, got none"),
        ({"tokens": ["a", 3]}, "vocabulary.json is damaged: a token must be a non-empty str .* got 3"),
        ({"tokens": None}, "vocabulary.json is damaged"),
    ],
)
def test_a_vocabulary_that_is_not_this_tasks_is_refused(tasks, name, change, message):
    content = {**tasks.read(name).dump(), **change}
    with pytest.raises(CheckpointError, match=message.format(name=name)):
        tasks.new(name).restore(content)


def test_a_vocabulary_without_tokens_is_refused(tasks, name):
    content = tasks.read(name).dump()
    del content["tokens"]
    with pytest.raises(CheckpointError, match="vocabulary.json is damaged: 'tokens'"):
        tasks.new(name).restore(content)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_task_builds_the_model_of_the_settings(tasks, name, cell):
    task = tasks.read(name)
    model = task.build_model(ModelConfig(cell=Cell(cell), hidden_size=9, embedding_size=4, num_layers=2, dropout=0.1))
    assert type(model.recurrent).__name__ == cell.upper()
    assert model.embedding.weight.shape == (len(task.vocabulary), 4)
    sizes = (model.recurrent.hidden_size, model.recurrent.num_layers, model.recurrent.dropout, model.dropout.p)
    assert sizes == (9, 2, 0.1, 0.1)


def test_training_windows_carry_the_state_and_say_where_sequences_begin(tasks, name):
    task = tasks.read(name)
    windows = task.train_windows(0)
    begins = [bool(windows[index].starts.all()) for index in range(len(windows))]
    assert begins[0]
    assert all(bool(windows[i].starts.any()) == begins[i] for i in range(len(windows))), "all rows or none"
    assert sum(begins) == {"next_word": 1, "sentiment": len(windows), "music": 6}[name]  # 48 tunes in eights


def recurrent_of(config: ModelConfig):
    settings = stack_settings(config)
    return build_recurrent(3, **settings)


def test_a_models_settings_reach_its_cells():
    config = ModelConfig(cell=Cell.lstm, recurrent_dropout=0.1, weight_drop=0.2, zoneout=0.3, zoneout_cell=0.4)
    layer = recurrent_of(config)
    assert (layer.recurrent_dropout, layer.weight_drop, layer.zoneout) == (0.1, 0.2, (0.3, 0.4))
    config = ModelConfig(cell=Cell.lstm, zoneout=0.3, layer_norm=True, clip_state_grad=2.0, recompute=True)
    layer = recurrent_of(config)
    assert (layer.zoneout, layer.layer_norm, layer.clip_state_grad, layer.recompute) == (0.3, True, 2.0, True)
    assert recurrent_of(ModelConfig(cell=Cell.lstm)).extras.asked_for() == ()
