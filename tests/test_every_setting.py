"""Every setting of `rnnlab train` does something: changing it alone changes what a run leaves behind."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from rnnlab.cli import main
from rnnlab.config import SCHEMAS, TrainConfig, TrainerConfig
from rnnlab.schema import settings

LONG = ("trainer.max_steps=12", "trainer.max_epochs=3")
EVALUATED = (*LONG, "trainer.eval_every_steps=1", "optimizer.lr=20")  # a rate that makes scores worse

# setting -> (task, value, what else is set in both runs)
CHANGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "task.min_count": ("next_word", "1", ()),
    "task.max_vocab": ("next_word", "6", ()),
    "task.text_column": ("sentiment", "other", ()),
    "task.label_column": ("sentiment", "mark", ()),
    "task.max_len": ("sentiment", "2", ()),
    "task.truncate": ("sentiment", "last", ("task.max_len=2",)),
    "task.train_sequences": ("adding", "16", ()),
    "task.score_sequences": ("copy", "5", ()),
    "task.seq_len": ("ball", "6", ()),
    "task.delay": ("copy", "3", ()),
    "task.radius": ("ball", "0.5", ()),
    "task.speed": ("ball", "0.01", ()),
    "model.cell": ("music", "gru", ()),
    "model.hidden_size": ("music", "7", ()),
    "model.num_layers": ("music", "2", ()),
    "model.bidirectional": ("sentiment", "true", ()),
    "model.embedding": ("music", "one_hot", ()),
    "model.embedding_size": ("music", "7", ()),
    "model.tie_weights": ("music", "true", ("model.embedding_size=6",)),
    "model.decoder": ("music", "adaptive", ("model.hidden_size=16",)),
    "model.cutoffs": ("music", "[5]", ("model.decoder=adaptive", "model.hidden_size=16")),
    "model.sampled_words": ("next_word", "2", ()),
    "model.dropout": ("music", "0.5", ()),
    "model.recurrent_dropout": ("music", "0.5", ()),
    "model.weight_drop": ("music", "0.5", ()),
    "model.zoneout": ("music", "0.5", ()),
    "model.zoneout_cell": ("music", "0.5", ()),
    "model.layer_norm": ("music", "true", ()),
    "model.clip_state_grad": ("music", "0.000001", ()),
    "model.nonlinearity": ("music", "relu", ("model=rnn",)),
    "model.initialisation": ("music", "orthogonal", ()),
    "model.init_range": ("music", "0.5", ("model.initialisation=uniform", "model.init_range=0.1")),
    "model.forget_gate_bias": ("music", "3", ()),
    "model.pooling": ("sentiment", "attention", ()),
    "model.backend": ("music", "reference", ()),
    "optimizer.lr": ("music", "0.1", ()),
    "optimizer.weight_decay": ("music", "0.1", ()),
    "optimizer.beta1": ("music", "0.5", ()),
    "optimizer.beta2": ("music", "0.5", ()),
    "optimizer.eps": ("music", "0.1", ()),
    "optimizer.momentum": ("music", "0.5", ("optimizer=sgd",)),
    "optimizer.nesterov": ("music", "true", ("optimizer=momentum",)),
    "optimizer.alpha": ("music", "0.5", ("optimizer=rmsprop",)),
    "scheduler.gamma": ("music", "0.1", (*LONG, "scheduler=step", "scheduler.start_epoch=1")),
    "scheduler.start_epoch": ("music", "2", (*LONG, "scheduler=step", "scheduler.start_epoch=1")),
    "scheduler.every_epochs": ("music", "2", (*LONG, "scheduler=step", "scheduler.start_epoch=0")),
    "scheduler.patience": ("music", "5", (*EVALUATED, "scheduler=plateau")),
    "scheduler.min_lr": ("music", "15", (*EVALUATED, "scheduler=plateau")),
    "scheduler.warmup_steps": ("music", "2", ("scheduler=cosine", "scheduler.warmup_steps=0")),
    "scheduler.final_share": ("music", "0.9", ("scheduler=cosine", "scheduler.warmup_steps=0")),
    "trainer.batch_size": ("music", "5", ()),
    "trainer.bptt_len": ("music", "9", ()),
    "trainer.auto_bptt_len": ("copy", "true", ("trainer.bptt_len=2",)),
    "trainer.random_bptt": ("next_word", "true", ()),
    "trainer.accumulate": ("music", "2", ()),
    "trainer.clip_grad_norm": ("music", "0.01", ()),
    "trainer.clip_grad_value": ("music", "0.0001", ()),
    "trainer.max_epochs": ("music", "2", ("trainer.max_steps=null",)),
    "trainer.max_steps": ("music", "2", ()),
    "trainer.max_minutes": ("music", "0.000001", ()),
    "trainer.patience": ("music", "1", EVALUATED),
    "trainer.eval_every_steps": ("music", "1", ()),
    "trainer.averaging": ("music", "mean", ()),
    "trainer.averaging_decay": ("music", "0.5", ("trainer.averaging=ema",)),
    "trainer.averaging_start_epoch": ("music", "1", (*LONG, "trainer.averaging=mean")),
    "trainer.precision": ("music", "bf16", ()),
    "trainer.threads": ("music", "2", ()),
    "trainer.tune_allocator": ("music", "false", ()),
    "trainer.log_every_steps": ("music", "3", ()),
    "trainer.histograms": ("music", "true", ()),
    "trainer.figures": ("sentiment", "true", ()),
    "trainer.profile": ("music", "true", LONG),
    "trainer.xray_every": ("music", "2", ()),
    "trainer.checkpoint_every_steps": ("music", "1", ()),
    "trainer.checkpoint_every_minutes": ("music", "1e-9", ()),
    "trainer.num_samples": ("music", "0", ()),
    "trainer.sample_len": ("music", "3", ()),
    "seed": ("music", "1", ()),
}
# These are shown to do something by tests of their own, named here.
ELSEWHERE = {
    "task.corpus": "every test below trains on its own",
    "task.name": "set by the choice of the task",
    "optimizer.name": "set by the choice of the optimizer",
    "scheduler.name": "set by the choice of the scheduler",
    "trainer.cuda_graph": "training/test_graphs: it starts the same operations and must change no number",
    "trainer.device": "test_hardware",
    "trainer.devices": "training/test_ranks: it shares the work and must change no number",
    "model.recompute": "cells/test_ops: it saves memory and must change no number",
    "trainer.eval_batch_size": "tasks/test_base: it bounds memory and must change no score",
    "trainer.max_skipped": "training/test_divergence",
    "name": "commands/test_train",
    "resume": "training/test_trainer",
    "resume_allow": "commands/test_changes",
    "dry_run": "commands/test_train",
}


def outcome(folder: Path, written: list[str]) -> dict[str, object]:
    """What a run left behind, without times and without the settings themselves."""
    result = json.loads((folder / "result.json").read_text())
    run = json.loads((folder / "run.json").read_text())
    events = []
    for path in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if not value.tag.startswith(("speed/", "_hparams_")):
                    events.append((value.tag, event.step, value.tensor.SerializeToString()))
    return {
        **{key: result.get(key) for key in ("metrics", "steps", "epochs", "best_step")},
        **{key: run[key] for key in ("threads", "allocator", "backend", "num_parameters", "vocabulary_hash", "corpus")},
        "weights": hashlib.sha256((folder / "checkpoints/last/model.safetensors").read_bytes()).hexdigest(),
        "events": events,
        "checkpoints": written,
        "profile": sorted(path.name for path in (folder / "profile").glob("*")),
    }


def test_the_table_of_changes_names_every_setting():
    keys = set()
    for key, setting in settings(TrainConfig).items():
        if not setting.is_section:
            keys.add(key)
    for group, schemas in {**SCHEMAS, "trainer": {"": TrainerConfig}}.items():
        for schema in schemas.values():
            keys |= set(settings(schema, f"{group}."))
    assert keys == {*CHANGES, *ELSEWHERE}


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_changing_a_setting_alone_changes_the_run(key, train, corpora, tmp_path, monkeypatch):
    task, value, context = CHANGES[key]
    if key in ("task.text_column", "task.label_column"):
        rows = [f"{n} good day,{n} bad night,{'pos' if n % 2 else 'neg'},{'a' if n % 3 else 'b'}" for n in range(90)]
        (tmp_path / "columns.csv").write_text("text,other,label,mark\n" + "\n".join(rows) + "\n")
        context = (f"task.corpus={tmp_path / 'columns.csv'}",)
    written: list[str] = []
    from rnnlab.training import savepoints

    save = savepoints.save_checkpoint
    monkeypatch.setattr(savepoints, "save_checkpoint", lambda *a, **k: written.append(save(*a, **k).name))
    before = outcome(train(task, *context, name="before"), list(written))
    written.clear()
    kept = [override for override in context if override.partition("=")[0] != key]
    after = outcome(train(task, *kept, f"{key}={value}", name="after"), list(written))
    assert [name for name in before if before[name] != after[name]], f"{key}={value} changed nothing"


def test_help_shows_every_setting(capsys):
    main(["train", "--help"])
    shown = capsys.readouterr().out
    assert not [key for key in CHANGES if not re.search(rf"\b{key.rpartition('.')[2]}\b", shown)]
