"""What a resume may change, and what a checkpoint of something else is told."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from rnnlab.cli import main
from rnnlab.json_files import read_json, write_json
from rnnlab.training import formats
from rnnlab.training.checkpoint import load_training
from rnnlab.training.fits import optimizer_difference, settings_difference, weight_difference
from rnnlab.training.optimizers import Adam


@pytest.fixture
def refused(capsys):
    def resume(exit_code: int, *words: str) -> str:
        capsys.readouterr()
        assert main(["train", *words]) == exit_code
        return capsys.readouterr().err.splitlines()[-1]

    return resume


def test_what_is_never_learned_may_change_and_is_kept_for_the_next_resume(finished, capsys):
    more = ["trainer.max_steps=5", "trainer.checkpoint_every_steps=3", "trainer.log_every_steps=2"]
    assert main(["train", "resume=music", *more]) == 0
    told = capsys.readouterr().err
    assert "trainer.max_steps: 5, was 4" in told
    assert "trainer.checkpoint_every_steps: 3, was 2" in told
    run = read_json(finished / "music/run.json")
    assert run["config"]["trainer"]["max_steps"] == 5
    assert run["changes"][0]["step"] == 4
    assert run["changes"][0]["changed"]["trainer.max_steps"] == [4, 5]
    assert main(["train", "resume=music", "trainer.threads=2"]) == 0
    again = read_json(finished / "music/run.json")
    assert again["config"]["trainer"]["threads"] == 1, "threads are of this once"
    assert read_json(finished / "music/result.json")["steps"] == 5


def test_what_is_learned_changes_only_with_permission(finished, refused):
    words = ["resume=music", "optimizer.lr=0.5", "trainer.max_steps=6"]
    assert refused(2, *words).endswith(
        "error: optimizer.lr cannot change: resume goes on with the settings in the run's run.json; to learn otherwise "
        "from here on, add resume_allow=optimizer.lr"
    )
    before = load_training(finished / "music/checkpoints")[1]["optimizer"]["param_groups"][0]["lr"]
    assert main(["train", *words, "resume_allow=optimizer.lr, model.dropout", "model.dropout=0.3"]) == 0
    saved = load_training(finished / "music/checkpoints")[1]
    assert saved["counters"]["step"] == 6
    assert before != 0.5 == saved["optimizer"]["param_groups"][0]["lr"]
    assert (saved["settings"]["optimizer.lr"], saved["settings"]["model.dropout"]) == (0.5, 0.3)
    assert main(["train", "resume=music", "trainer.max_steps=7"]) == 0, "and goes on so without asking again"
    saved = load_training(finished / "music/checkpoints")[1]
    assert saved["optimizer"]["param_groups"][0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume_allow=model.hidden_size", "model.hidden_size=7"], "model.hidden_size cannot change in a run"),
        (["resume_allow=optimizer.rl"], "optimizer.rl cannot change in a run; did you mean optimizer.lr"),
        (["model.hidden_size=7"], "model.hidden_size cannot change"),
        (["seed=7"], "seed cannot change"),
        (["optimizer=sgd"], "optimizer cannot change"),
        (
            ["resume_allow=optimizer.momentum", "optimizer=sgd", "optimizer.momentum=0.1"],
            "optimizer cannot change",
        ),
    ],
)
def test_what_would_not_fit_never_changes(finished, refused, words, message):
    assert message in refused(2, "resume=music", *words)


def test_permission_without_a_resume_is_a_contradiction(refused):
    assert "resume_allow=seed is of resume=RUN" in refused(2, "resume_allow=seed")


def test_another_corpus_needs_permission_too(train, corpora, tmp_path, refused, capsys):
    copy = tmp_path / "tunes.abc"
    copy.write_bytes(corpora["music"].read_bytes())
    run = train("music", f"task.corpus={copy}")
    copy.write_bytes(copy.read_bytes().replace(b"T:Tune 7\n", b"T:Tune 8\n", 1).replace(b"A2", b"B2", 5))
    assert "is not the one run was trained on" in refused(4, "resume=run", "trainer.max_steps=5")
    assert main(["train", "resume=run", "trainer.max_steps=5", "resume_allow=task.corpus"]) == 0
    assert "is not the one run was trained on" in capsys.readouterr().err
    assert main(["train", "resume=run", "trainer.max_steps=6"]) == 0
    assert read_json(run / "run.json")["allowed"] == ["task.corpus"]


# What run.json says in place of what the checkpoint was written with.
OTHER = {
    "another cell": ({"model": {"cell": "gru"}}, "does not fit this run: model: recurrent."),
    "another width": ({"model": {"hidden_size": 7}}, "does not fit this run: model: "),
    "another pooling and batch": (
        {"model": {"pooling": "last"}, "trainer": {"batch_size": 9}},
        "does not fit this run: model.pooling is max there and last here, trainer.batch_size is 8 there and 9 here",
    ),
    "another truncation": (
        {"task": {"truncate": "last"}},
        "does not fit this run: task.truncate is first there and last here",
    ),
    "sgd": (
        {"optimizer": {"name": "sgd", "beta1": None, "beta2": None, "eps": None}},
        "does not fit this run: optimizer: parameter 0 of SGD: it keeps no exp_avg",
    ),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_checkpoint_of_something_else_is_refused_with_what_differs(finished, refused, case):
    sections, message = OTHER[case]
    run = read_json(finished / "sentiment/run.json")
    for section, values in sections.items():
        new = {**run["config"][section], **values}
        run["config"][section] = {
            name: value for name, value in new.items() if value is not None or section != "optimizer"
        }
    write_json(finished / "sentiment/run.json", run)
    before = (finished / "sentiment/result.json").read_bytes()
    assert message in refused(4, "resume=sentiment", "trainer.max_steps=6")
    assert (finished / "sentiment/result.json").read_bytes() == before


def test_a_checkpoint_of_another_run_or_vocabulary_is_refused(finished, train, refused, capsys):
    train("sentiment", "task.min_count=1", name="other")
    shutil.rmtree(finished / "sentiment/checkpoints")
    shutil.copytree(finished / "other/checkpoints", finished / "sentiment/checkpoints", symlinks=True)
    told = refused(4, "resume=sentiment", "trainer.max_steps=6")
    assert "does not fit this run: its vocabulary has hash" in told
    assert "its corpus has hash" in told
    vocabulary = read_json(finished / "music/vocabulary.json")
    vocabulary["tokens"][-1], vocabulary["tokens"][-2] = vocabulary["tokens"][-2:]
    write_json(finished / "music/vocabulary.json", vocabulary)
    assert main(["generate", "run=music", "length=3"]) == 4
    assert "does not belong to the run: its vocabulary has hash" in capsys.readouterr().err


STRANGE = [
    (part, value) for part in ("counters", "rng", "optimizer", "metrics", "state") for value in (None, {"a": 1}, [1])
]
STRANGE.remove(("state", None))  # which are none
STRANGE.remove(("metrics", {"a": 1}))


@pytest.mark.parametrize(("part", "value"), STRANGE)
def test_a_strangers_training_state_is_refused_and_never_a_bug(finished, refused, part, value):
    checkpoint = (finished / "music/checkpoints/last").resolve()
    content = formats.read(checkpoint)
    training = {**content.training(), part: value}
    manifest = content.manifest
    files = formats.pack(manifest["step"], content.model(), training, manifest["identity"])
    for name, data in files.items():
        (checkpoint / name).write_bytes(data)
    assert refused(4, "resume=music", "trainer.max_steps=6").startswith("error: the ")


def test_differences_are_told_by_name_shape_and_dtype():
    ours = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    assert weight_difference(ours, ours) == ""
    assert weight_difference({**ours, "b": torch.zeros(5)}, ours) == "b is (5,), wanted (4,) (1 of 2 differ)"
    half = torch.zeros(4, dtype=torch.bfloat16)
    assert weight_difference({**ours, "b": half}, ours) == "b is (4,) bfloat16, wanted (4,) (1 of 2 differ)"
    assert weight_difference({"a": ours["a"]}, ours) == "b is not there, wanted (4,) (1 of 2 differ)"
    many = {str(n): n for n in range(5)}
    assert settings_difference({}, many, ()) == ""
    assert settings_difference(dict.fromkeys(many, 9), many, {"0"}) == (
        "1 is 9 there and 1 here, 2 is 9 there and 2 here, 3 is 9 there and 3 here, 1 more"
    )


def test_an_optimizers_state_is_compared_before_torch_takes_any_shape():
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))]
    optimizer = Adam(parameters, lr=0.1)
    assert optimizer_difference(optimizer.state_dict(), optimizer) == ""
    for p in parameters:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert optimizer_difference(optimizer.state_dict(), optimizer) == ""

    def changed(index=0, **slots):
        state = optimizer.state_dict()
        state["state"] = {**state["state"], index: {**state["state"][1], **slots}}
        return optimizer_difference(state, optimizer)

    assert changed() == "parameter 0 of Adam: exp_avg is (4,), wanted (2, 3)"
    assert "keeps no x" in changed(1, x=torch.zeros(4))
    assert "exp_avg is (4,) float64, wanted (4,)" in changed(1, exp_avg=torch.zeros(4, dtype=torch.float64))
    assert "step is (4,)" in changed(1, step=torch.zeros(4))
    assert "exp_avg is no tensor" in changed(1, exp_avg=[0.0])
    assert changed(2) == "its parameters are not numbered as ours are"
    state = optimizer.state_dict()
    state["param_groups"] = [{**state["param_groups"][0], "params": [0]}]
    assert optimizer_difference(state, optimizer) == "its groups have [1] parameters, wanted [2]"
    assert "no state of an optimizer" in optimizer_difference({"state": 3}, optimizer)
    assert "learning rate is nan" in optimizer_difference(
        json.loads(json.dumps({"state": {}, "param_groups": [{"params": [0, 1], "lr": float("nan")}]})), optimizer
    )
