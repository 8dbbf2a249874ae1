import errno
import json
import logging
import math
import os
import re
import resource
from pathlib import Path

import pytest
import torch

from rnnlab.errors import CannotWriteError, CheckpointError
from rnnlab.training import checkpoint
from rnnlab.training.checkpoint import load_model, load_training, mend_best
from rnnlab.training.fits import weight_difference
from rnnlab.training.formats import COUNTERS, FORMAT, MANIFEST, MODEL, TRAINING

FILES = (MODEL, TRAINING, COUNTERS, MANIFEST)


def save(folder, step=5, *, best=False, value=None):
    model = {"weight": torch.full((3, 2), float(step if value is None else value))}
    return checkpoint.save_checkpoint(folder, step, model, {"step": step, "rng": torch.arange(9)}, best=best)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def target(folder, link):
    return (folder / link).resolve().name


def test_everything_a_trainer_keeps_comes_back_as_it_was(tmp_path):
    training = {
        "optimizer": {"state": {0: {"step": torch.tensor(3.0), "buffer": None}}, "groups": [{"betas": (0.9, 0.999)}]},
        "state": (torch.randn(2, 3), torch.randn(2, 3)),
        "none": None,
        "flags": [True, False],
        "count": 2**60,
        "rate": 0.1 + 0.2,
        "text": "naïve \n {} [] ''",
        "empty": {},
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "scalar": torch.tensor(7),
    }
    checkpoint.save_checkpoint(tmp_path, 1, {"w": torch.eye(2)}, training, best=True)
    model, back = load_training(tmp_path)
    assert list(model) == ["w"]
    assert model["w"].equal(torch.eye(2))
    text = training.pop("text"), back.pop("text")
    assert text[0] == text[1]
    torch.testing.assert_close(back, training, rtol=0, atol=0)
    assert type(back["state"]) is tuple
    assert list(back["optimizer"]["state"]) == [0], "an int key stays an int"
    assert [type(flag) for flag in back["flags"]] == [bool, bool]
    assert back["half"].dtype == torch.bfloat16


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, -0.0])
def test_any_float_comes_back_to_the_last_bit(tmp_path, number):
    checkpoint.save_checkpoint(tmp_path, 1, {}, {"x": number}, best=False)
    back = load_training(tmp_path)[1]["x"]
    assert math.copysign(1, back) == math.copysign(1, number)
    assert back == number or (math.isnan(back) and math.isnan(number))


def test_tensors_that_share_memory_or_are_not_contiguous_are_saved_by_value(tmp_path):
    whole = torch.arange(6.0).view(2, 3).requires_grad_()
    model = {"a": whole, "b": whole.T, "c": whole[0], "d": whole}
    checkpoint.save_checkpoint(tmp_path, 1, model, {}, best=False)
    back = load_model(tmp_path, "last")
    assert all(back[name].equal(tensor) for name, tensor in model.items())


def test_what_cannot_be_kept_without_pickle_is_refused_by_its_place(tmp_path):
    with pytest.raises(
        TypeError, match=r"training\.a\.1 is a set; a checkpoint holds tensors, numbers and strings only"
    ):
        checkpoint.save_checkpoint(tmp_path, 1, {}, {"a": [1, {2}]}, best=False)
    assert names(tmp_path) == []


def test_a_checkpoint_is_four_files_and_the_manifest_names_the_others(tmp_path):
    path = save(tmp_path)
    assert names(path) == sorted(FILES)
    manifest = json.loads((path / MANIFEST).read_text())
    assert (manifest["format"], manifest["step"], manifest["torch"]) == (FORMAT, 5, torch.__version__)
    assert {name: entry["size"] for name, entry in manifest["files"].items()} == {
        name: (path / name).stat().st_size for name in (MODEL, TRAINING, COUNTERS)
    }


def test_links_say_which_is_last_and_which_is_best(tmp_path):
    save(tmp_path, 1)
    assert (target(tmp_path, "last"), target(tmp_path, "best")) == ("step-00000001", "step-00000001")
    save(tmp_path, 2)
    assert (target(tmp_path, "last"), target(tmp_path, "best")) == ("step-00000002", "step-00000001")
    save(tmp_path, 3, best=True)
    assert (target(tmp_path, "last"), target(tmp_path, "best")) == ("step-00000003", "step-00000003")
    assert load_model(tmp_path, "best")["weight"][0, 0] == 3


def test_the_folder_may_be_moved(tmp_path):
    save(tmp_path / "here", 1)
    (tmp_path / "here").rename(tmp_path / "there")
    assert load_model(tmp_path / "there", "best")["weight"][0, 0] == 1


def test_pruning_keeps_best_last_and_the_one_before_the_last(tmp_path):
    for step in range(1, 8):
        save(tmp_path, step, best=step == 3)
        best = 1 if step < 3 else 3
        kept = {f"step-{kept:08d}" for kept in (best, max(step - 1, 1), step)}
        assert set(names(tmp_path)) == {"best", "last", *kept}
        assert load_training(tmp_path)[1]["step"] == step
        assert load_model(tmp_path, "best")["weight"][0, 0] == best


def test_debris_of_a_killed_run_is_cleared_away(tmp_path):
    save(tmp_path, 1)
    for debris in (".tmp-step-00000002-77", ".del-step-00000001-77", ".del-step-00000000"):
        (tmp_path / debris).mkdir()
        (tmp_path / debris / MODEL).write_bytes(b"half")
    save(tmp_path, 2)
    assert names(tmp_path) == ["best", "last", "step-00000001", "step-00000002"]


def test_a_link_that_a_kill_left_unnamed_is_cleared_away(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".tmp-last-123").symlink_to("step-00000001")
    save(tmp_path, 2)
    assert names(tmp_path) == ["best", "last", "step-00000001", "step-00000002"]


def test_debris_that_cannot_be_removed_does_not_stop_the_run(tmp_path, monkeypatch):
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / ".del-step-00000001-9").mkdir()

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(
        checkpoint.shutil, "rmtree", lambda *a, ignore_errors=False: None if ignore_errors else refuse()
    )
    save(tmp_path, 3)
    assert load_training(tmp_path)[1]["step"] == 3


def test_the_same_step_may_be_saved_again(tmp_path):
    save(tmp_path, 4)
    save(tmp_path, 5, value=1)
    save(tmp_path, 5, value=2, best=True)
    assert names(tmp_path) == ["best", "last", "step-00000004", "step-00000005"]
    assert load_model(tmp_path, "best")["weight"][0, 0] == 2


def test_steps_are_compared_as_numbers(tmp_path):
    for step in (99_999_999, 100_000_000):
        save(tmp_path, step)
    assert load_training(tmp_path)[1]["step"] == 100_000_000


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_or_missing_is_found(tmp_path, name):
    path = save(tmp_path) / name
    content = path.read_bytes()
    for size in {0, 1, 8, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="1 checkpoint found in .*, none verifies: "):
            load_training(tmp_path)
        with pytest.raises(CheckpointError):
            load_model(tmp_path, "last")
    path.unlink()
    with pytest.raises(CheckpointError, match=f"step-00000005 is not a whole checkpoint: .*{name}"):
        load_model(tmp_path, "last")


def test_appended_bytes_are_found(tmp_path):
    path = save(tmp_path) / MODEL
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match=r"model.safetensors is damaged: .* has \d+ bytes, at most \d+ are"):
        load_model(tmp_path, "last")


@pytest.mark.parametrize("manifest", ["", "[]", "3", "null", "{}", '{"format": 1, "files": []}', "[" * 100_000, "\0"])
def test_a_manifest_that_is_none_is_refused(tmp_path, manifest):
    (save(tmp_path) / MANIFEST).write_text(manifest)
    with pytest.raises(CheckpointError, match="is not a whole checkpoint|is damaged"):
        load_training(tmp_path)


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, caplog):
    save(tmp_path, 1)
    save(tmp_path, 2, best=True)
    (tmp_path / "step-00000002" / MODEL).write_bytes(b"")
    logging.getLogger("rnnlab").propagate = True
    with caplog.at_level(logging.WARNING, "rnnlab"):
        model, training = load_training(tmp_path)
    assert training["step"] == 1
    assert model["weight"][0, 0] == 1
    assert "step-00000002/model.safetensors is damaged" in caplog.text
    assert "using the older step-00000001" in caplog.text
    assert (tmp_path / ".corrupt-step-00000002-1" / MODEL).exists()
    with pytest.raises(CheckpointError):
        load_model(tmp_path, "best")  # nobody is given other weights than those asked for


def test_best_is_left_alone_while_it_verifies(tmp_path):
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    assert mend_best(tmp_path, 1)
    assert target(tmp_path, "best") == "step-00000001"


@pytest.mark.parametrize(("step", "left"), [(2, "step-00000002"), (-1, "step-00000001"), (3, "step-00000001")])
def test_a_link_that_a_kill_left_at_an_older_checkpoint_is_moved_on(tmp_path, step, left):
    save(tmp_path, 1, best=True)
    save(tmp_path, 2)
    assert mend_best(tmp_path, step)
    assert target(tmp_path, "best") == left


def test_last_is_the_checkpoint_that_is_resumed_also_where_a_kill_came_before_its_link(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    (tmp_path / "last").unlink()
    (tmp_path / "last").symlink_to("step-00000001")
    assert load_training(tmp_path)[1]["step"] == 2
    assert target(tmp_path, "last") == "step-00000002"


@pytest.mark.parametrize("step", [1, -1])
def test_a_kill_before_the_first_link_loses_no_best(tmp_path, caplog, monkeypatch, step):
    save(tmp_path, 1, best=True)
    (tmp_path / "best").unlink()
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", True)
    assert mend_best(tmp_path, step)
    assert target(tmp_path, "best") == "step-00000001"
    assert not caplog.text


@pytest.mark.parametrize(("step", "left"), [(1, "step-00000001"), (3, None), (-1, "step-00000001")])
def test_a_damaged_best_becomes_the_known_one_or_none(tmp_path, caplog, monkeypatch, step, left):
    save(tmp_path, 1)
    save(tmp_path, 2, best=True)
    (tmp_path / "step-00000002" / MODEL).write_bytes(b"")
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", True)
    with caplog.at_level(logging.WARNING, "rnnlab"):
        assert mend_best(tmp_path, step) == (left is not None)
    assert "step-00000002/model.safetensors is damaged" in caplog.text
    assert (target(tmp_path, "best") if (tmp_path / "best").exists() else None) == left


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_good_one(tmp_path):
    save(tmp_path, 10)
    save(tmp_path, 20)
    (tmp_path / "step-00000020" / MODEL).write_bytes(b"")
    assert load_training(tmp_path)[1]["step"] == 10
    save(tmp_path, 12)  # the run went on from 10 and was stopped
    assert names(tmp_path) == [".corrupt-step-00000020-1", "best", "last", "step-00000010", "step-00000012"]


def test_weights_of_another_model_are_told_by_their_first_difference():
    one = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}
    assert weight_difference(one, {name: tensor + 1 for name, tensor in one.items()}) == ""
    wider = {"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}
    assert weight_difference(one, wider) == "weight is (3, 2), wanted (3, 4) (1 of 2 differ)"
    assert weight_difference({}, wider) == "weight is not there, wanted (3, 4) (2 of 2 differ)"
    assert weight_difference(wider, {"bias": torch.zeros(3)}) == "weight is (3, 4), wanted none (1 of 1 differ)"


def test_no_checkpoint_at_all_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in .*: the run ended before its first; start it anew"):
        load_training(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="no checkpoint 'best' in .*: has the run reached its first evaluation"):
        load_model(tmp_path, "best")


def test_when_none_verifies_all_are_counted(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
        (tmp_path / f"step-0000000{step}" / MODEL).write_bytes(b"")
    with pytest.raises(CheckpointError, match="2 checkpoints found in .*, none verifies: .*step-00000002"):
        load_training(tmp_path)


def test_folders_of_other_names_are_left_alone(tmp_path):
    for other in ("step-12", "step-notes", "mine"):
        (tmp_path / other).mkdir()
    save(tmp_path, 1)
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert {"step-12", "step-notes", "mine"} < set(names(tmp_path))
    assert load_training(tmp_path)[1]["step"] == 3


def fails_at(monkeypatch, owner, name, nth, error=None):
    """Make the nth call of a function fail as on a full disk, or die as if killed."""
    real, calls = getattr(owner, name), []

    def call(*arguments, **keywords):
        calls.append(1)
        if len(calls) == nth:
            raise error or OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, name, call)
    return calls


OPERATIONS = [(checkpoint.os, "fsync", 6), (Path, "mkdir", 2), (Path, "rename", 2), (Path, "replace", 2)]
OPERATIONS += [(Path, "symlink_to", 2), (Path, "open", 4)]
POINTS = [(owner, name, nth) for owner, name, count in OPERATIONS for nth in range(1, count + 1)]


@pytest.mark.parametrize(("owner", "name", "nth"), POINTS, ids=[f"{name}-{nth}" for _, name, nth in POINTS])
@pytest.mark.parametrize("step", [2, 3], ids=["again", "new"])
def test_a_full_disk_leaves_the_checkpoints_before_as_they_were(tmp_path, monkeypatch, owner, name, nth, step):
    save(tmp_path, 1, best=True)
    save(tmp_path, 2, value=20)
    error = None
    with monkeypatch.context() as context:
        calls = fails_at(context, owner, name, nth)
        try:
            save(tmp_path, step, value=30)
        except CannotWriteError as caught:
            error = caught
    if error is None:  # not so many calls, or what failed was only clearing away
        assert len(calls) < nth or (name, nth) == ("rename", 2)
    else:
        assert re.search(r"No space left on device \([\d,]+ bytes free\); the last good one is kept", str(error))
        assert error.exit_code == 7
    assert load_model(tmp_path, "best")["weight"][0, 0] == 1
    assert load_model(tmp_path, "last")["weight"][0, 0] in (20, 30)
    model, training = load_training(tmp_path)
    assert training["step"] in (2, step)
    assert model["weight"][0, 0] in (20, 30)
    save(tmp_path, 4)
    assert load_training(tmp_path)[1]["step"] == 4
    assert not [path for path in names(tmp_path) if path.startswith((".tmp-step", ".del"))]


@pytest.mark.parametrize(("owner", "name", "nth"), POINTS, ids=[f"{name}-{nth}" for _, name, nth in POINTS])
@pytest.mark.parametrize("before", [[2], [1, 2]], ids=["alone", "with another"])
@pytest.mark.parametrize("step", [2, 3], ids=["again", "new"])
def test_a_kill_at_any_operation_loses_no_checkpoint(tmp_path, monkeypatch, owner, name, nth, step, before):
    class Kill(BaseException):
        pass

    for earlier in before:
        save(tmp_path, earlier, best=True)
    with monkeypatch.context() as context:
        fails_at(context, owner, name, nth, Kill())
        try:
            save(tmp_path, step, value=30, best=True)
        except Kill:
            pass
    assert load_training(tmp_path)[1]["step"] in (2, step)
    save(tmp_path, 4)
    assert load_training(tmp_path)[1]["step"] == 4
    assert load_model(tmp_path, "best")["weight"][0, 0] in (2, 30), "best still means what it meant"
    assert not [path for path in names(tmp_path) if path.startswith((".tmp-step", ".del"))]


def test_a_file_that_may_not_grow_is_an_error_and_not_half_a_checkpoint(tmp_path):
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(CannotWriteError, match="step-00000002: File too large; the last good one is kept"):
            checkpoint.save_checkpoint(tmp_path, 2, {"w": torch.zeros(9999)}, {}, best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["best", "last", "step-00000001"]
    assert load_training(tmp_path)[1]["step"] == 1


def test_a_place_that_is_no_folder_is_an_error(tmp_path):
    (tmp_path / "checkpoints").write_text("")
    with pytest.raises(CannotWriteError, match="cannot write checkpoint .*: File exists"):
        save(tmp_path / "checkpoints")


def test_every_file_is_on_the_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    """What a power cut can take away: a rename that reaches the disk before the bytes it names."""
    done = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def record_fsync(descriptor):
        done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        fsync(descriptor)

    def record_move(real):
        return lambda self, new: done.append(("named", Path(new).name)) or real(self, new)

    monkeypatch.setattr(checkpoint.os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_move(rename))
    monkeypatch.setattr(Path, "replace", record_move(replace))
    save(tmp_path / "checkpoints", 7)
    temporary = f".tmp-step-00000007-{os.getpid()}"
    assert done == [
        ("fsync", tmp_path.name),  # that there is a folder of checkpoints
        *(("fsync", name) for name in FILES),  # the manifest last
        ("fsync", temporary),
        ("named", "step-00000007"),
        ("named", "last"),
        ("named", "best"),
        ("fsync", "checkpoints"),
    ]
