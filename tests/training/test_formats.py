"""Checkpoints from hell: damaged, foreign, malicious, older and newer ones."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import resource
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from rnnlab.cli import main
from rnnlab.errors import CheckpointError
from rnnlab.json_files import read_json
from rnnlab.training import formats
from rnnlab.training.checkpoint import load_model, load_training, save_checkpoint
from rnnlab.training.formats import COUNTERS, FILES, FORMAT, MANIFEST, MODEL, TRAINING, DamagedError, read, seal, sha256

GOLDEN = Path(__file__).parent / "golden"
GOLDEN_LOSS = 2.885416187959559  # of the rnnlab that wrote format 1, four steps on
IDENTITY = {"settings": "a" * 64, "corpus": "b" * 64, "vocabulary": "c" * 64}


def save(folder: Path, step: int = 1) -> Path:
    """A checkpoint larger than a page, with no byte of zeros that a damage could hide in."""
    model = {"weight": torch.full((40, 40), 1.5 + step)}
    training = {"moment": torch.full((3000,), 0.7), "step": step, "metrics": {"valid/loss": 2.5}}
    return save_checkpoint(folder, step, model, training, best=False, identity=IDENTITY)


# --- damage -----------------------------------------------------------------------------------------------------------


def mutations(content: bytes, count: int, draw: random.Random, kind: str):
    """Damaged copies of a file."""
    for _ in range(count):
        damaged = bytearray(content)
        if kind == "flip":
            place = draw.randrange(8 * len(content))
            damaged[place // 8] ^= 1 << place % 8
        elif kind == "zero":
            start = draw.randrange(0, max(1, len(content) - 1), 4096)
            damaged[start : start + 4096] = bytes(len(damaged[start : start + 4096]))
        else:
            del damaged[draw.randrange(len(content)) :]
        yield bytes(damaged)


@pytest.mark.parametrize(("kind", "count"), [("flip", 400), ("zero", 100), ("cut", 100)])
def test_every_damage_is_found_and_the_checkpoint_before_is_used(tmp_path, kind, count):
    save(tmp_path, 1)
    checkpoint = save(tmp_path, 2)
    draw, found = random.Random(kind), 0
    for name in (*FILES, MANIFEST):
        path = checkpoint / name
        content = path.read_bytes()
        for number, damaged in enumerate(mutations(content, count // 4, draw, kind)):
            assert damaged != content
            path.write_bytes(damaged)
            with pytest.raises(DamagedError):
                read(checkpoint)
            with pytest.raises(CheckpointError):
                load_model(tmp_path, "last")
            found += 1
            if number % 10 == 0:
                assert load_training(tmp_path)[1]["step"] == 1
                (aside,) = tmp_path.glob(".corrupt-*")
                assert (aside / name).read_bytes() == damaged, "what was damaged is kept"
                aside.rename(checkpoint)
                (tmp_path / "last").unlink()
                (tmp_path / "last").symlink_to(checkpoint.name)
        path.write_bytes(content)
    assert found == count
    assert load_training(tmp_path)[1]["step"] == 2


def test_where_none_verifies_all_stay_as_they_are(tmp_path):
    for step in (1, 2, 3):
        (save(tmp_path, step) / MODEL).write_bytes(b"")
    before = sorted(path.name for path in tmp_path.iterdir())
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"^3 checkpoints found in .*, none verifies: .*step-00000003"):
            load_training(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / "best").unlink()
    shutil.rmtree(tmp_path / "step-00000003")
    for step in (1, 2):
        (tmp_path / f"step-0000000{step}").rename(tmp_path / f".corrupt-step-0000000{step}-1")
    with pytest.raises(CheckpointError, match="0 checkpoints found in .* .and 2 set aside before as .corrupt-.*none"):
        load_training(tmp_path)


def test_what_is_set_aside_is_kept_and_the_only_one_that_verifies_is_never_dropped(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step-00000003" / TRAINING).write_bytes(b"")
    assert load_training(tmp_path)[1]["step"] == 2
    save(tmp_path, 4)
    (tmp_path / "step-00000004" / TRAINING).write_bytes(b"")
    assert load_training(tmp_path)[1]["step"] == 2
    save(tmp_path, 3)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("best", "last", "step-00000001", "step-00000002", "step-00000003"),
        *(".corrupt-step-00000003-1", ".corrupt-step-00000004-1"),
    }
    assert load_training(tmp_path)[1]["step"] == 3


def test_a_file_exchanged_after_it_was_hashed_changes_nothing(tmp_path, monkeypatch):
    checkpoint, real = save(tmp_path), formats.sha256

    def hash_then_exchange(data: bytes) -> str:
        for name in FILES:
            (checkpoint / name).write_bytes(b"evil")
        return real(data)

    content = {name: (checkpoint / name).read_bytes() for name in FILES}
    for name in FILES:
        with monkeypatch.context() as patch:
            patch.setattr(formats, "sha256", lambda data: hash_then_exchange(data) if len(data) == size else real(data))  # noqa: B023
            size = len(content[name])
            try:
                files = read(checkpoint).files
            except DamagedError:
                files = {name: content[name]}  # one of the files that were read later was exchanged, which was seen
        assert files[name] == content[name]
        for other in FILES:
            (checkpoint / other).write_bytes(content[other])


# --- foreign and malicious --------------------------------------------------------------------------------------------


def forge(checkpoint: Path, name: str, data: bytes | None = None, **manifest) -> None:
    """Put a stranger's file in, with a manifest that is right about it but for `manifest`."""
    if data is not None:
        (checkpoint / name).write_bytes(data)
    content = json.loads((checkpoint / MANIFEST).read_bytes())
    data = (checkpoint / name).read_bytes()
    content["files"][name] = {"size": len(data), "sha256": sha256(data)}
    (checkpoint / MANIFEST).write_bytes(seal({**content, **manifest}))


class Marks:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def torch_file(value, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return stream.getvalue()


def tensors(header: dict | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def many_names() -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return tensors({f"a tensor with a name {number}": entry for number in range(100_000)})


FOREIGN = {
    "empty": lambda path: b"",
    "HTML": lambda path: b"<html><body>404</body></html>",
    "PNG": lambda path: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "YAML": lambda path: b"a: !!python/object/apply:os.system ['true']\n",
    "zip": lambda path: zipped(a=b"b"),
    "npz": lambda path: zipped(**{"w.npy": b"\x93NUMPY\x01\x00"}),
    "torch.save": lambda path: torch_file({"w": torch.eye(2)}),
    "legacy torch.save": lambda path: torch_file({"w": torch.eye(2)}, _use_new_zipfile_serialization=False),
    "pickle that runs a command": lambda path: pickle.dumps(Marks(path)),
    "torch.save that runs a command": lambda path: torch_file(Marks(path)),
    "legacy torch.save that runs a command": lambda path: torch_file(Marks(path), _use_new_zipfile_serialization=False),
    "header of a terabyte": lambda path: (1 << 40).to_bytes(8, "little") + b"{}",
    "header of 100,000 tensors": lambda path: many_names(),
    "tensor larger than its file": lambda path: tensors(
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, bytes(16)
    ),
    "shape that its bytes do not fill": lambda path: tensors(
        {"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]}}, bytes(16)
    ),
    "tensors that overlap": lambda path: tensors(
        {name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for name in "ab"}, bytes(16)
    ),
    "JSON, endlessly deep": lambda path: tensors(b"[" * 100_000),
}


@pytest.mark.parametrize("case", FOREIGN)
@pytest.mark.parametrize("name", [MODEL, TRAINING])
def test_what_is_no_file_of_tensors_is_refused_in_a_line_and_runs_nothing(tmp_path, case, name):
    checkpoint, marker = save(tmp_path / "checkpoints"), tmp_path / "marker"
    forge(checkpoint, name, FOREIGN[case](marker))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=rf"none verifies: .*{name} is not a file of tensors") as caught:
        load_training(tmp_path / "checkpoints")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b"[1]",
        b"null",
        b'{"tensor": "training.none"}',
        b'{"dict": [["a"]]}',
        b'{"dict": [[[1], 2]]}',
        b'{"a": 1, "b": 2}',
        b"[" * 100_000,
        b'{"tuple": ' * 20_000 + b"1" + b"}" * 20_000,
        b"\xff\xfe",
        b"NaN",
    ],
    ids=range(11),
)
def test_counters_that_rnnlab_did_not_write_are_refused(tmp_path, content):
    forge(save(tmp_path), COUNTERS, content)
    with pytest.raises(CheckpointError, match=r"none verifies: .*training\.json holds no training state"):
        load_training(tmp_path)


def test_no_more_is_read_than_a_file_may_have(tmp_path):
    """Sparse files of 200 MB and more: reading one would show in this process's memory."""
    checkpoint = save(tmp_path / "checkpoints")
    manifest = (checkpoint / MANIFEST).read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in (*FILES, MANIFEST):
        content = (checkpoint / name).read_bytes()
        os.truncate(checkpoint / name, 1 << 40 if name == MODEL else 200_000_000)
        with pytest.raises(CheckpointError, match="none verifies"):
            load_training(tmp_path / "checkpoints")
        (checkpoint / name).write_bytes(content)
    os.truncate(checkpoint / COUNTERS, 200_000_000)
    files = {**json.loads(manifest)["files"], COUNTERS: {"size": 200_000_000, "sha256": "0" * 64}}
    (checkpoint / MANIFEST).write_bytes(seal({**json.loads(manifest), "files": files}))
    with pytest.raises(CheckpointError, match="its manifest says that training.json has 200000000 bytes"):
        load_training(tmp_path / "checkpoints")
    (tmp_path / "run.json").write_bytes(b"{")
    os.truncate(tmp_path / "run.json", 200_000_000)
    with pytest.raises(CheckpointError, match="run.json has 200,000,000 bytes, at most 16,777,216 are read"):
        read_json(tmp_path / "run.json")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


def test_nothing_outside_a_checkpoint_is_read(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpoint = save(folder)
    content = json.loads((checkpoint / MANIFEST).read_bytes())
    files = content["files"]
    for named in ({**files, "../../secret": files[MODEL]}, {name: files[MODEL] for name in ("../x", *FILES[:2])}, {}):
        (checkpoint / MANIFEST).write_bytes(seal({**content, "files": named}))
        with pytest.raises(CheckpointError, match="its manifest names"):
            load_training(folder)
    (checkpoint / MANIFEST).write_bytes(seal(content))
    read(checkpoint)
    for name in (*FILES, MANIFEST):
        (checkpoint / name).rename(tmp_path / name)
        (checkpoint / name).symlink_to(tmp_path / name)
        with pytest.raises(CheckpointError, match=f"{name} is a symbolic link"):
            load_training(folder)
        (checkpoint / name).unlink()
        os.mkfifo(checkpoint / name)  # to open one would wait for ever
        with pytest.raises(CheckpointError, match=f"{name} is no regular file"):
            load_training(folder)
        (checkpoint / name).unlink()
        (tmp_path / name).rename(checkpoint / name)
    checkpoint.rename(tmp_path / "elsewhere")
    checkpoint.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="the folder is a symbolic link"):
        load_training(folder)
    (folder / "best").unlink()
    (folder / "best").symlink_to("../elsewhere")
    with pytest.raises(CheckpointError, match="leads to '../elsewhere', wanted a checkpoint beside it"):
        load_model(folder, "best")


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_manifest_says_what_a_checkpoint_is_of(tmp_path):
    manifest = json.loads((save(tmp_path, 7) / MANIFEST).read_bytes())
    assert (manifest["format"], manifest["step"], manifest["torch"]) == (FORMAT, 7, torch.__version__)
    assert manifest["identity"] == IDENTITY
    assert manifest["cpu"] == torch.backends.cpu.get_cpu_capability()
    with pytest.raises(CheckpointError, match="its vocabulary has hash cccccccccccc, the run's has dddddddddddd"):
        load_model(tmp_path, "last", {"vocabulary": "d" * 64})
    load_model(tmp_path, "last", {"vocabulary": "c" * 64})


@pytest.mark.parametrize("version", [FORMAT + 1, 99, 0, -1, "2", None, 2.0, [2]])
def test_a_format_of_another_rnnlab_is_refused_and_no_older_checkpoint_is_used_in_its_place(tmp_path, version):
    save(tmp_path, 1)
    forge(save(tmp_path, 2), MODEL, format=version)
    with pytest.raises(CheckpointError, match=rf"has format .*, this rnnlab reads 1 to {FORMAT}: a newer one wrote it"):
        load_training(tmp_path)
    with pytest.raises(CheckpointError, match="this rnnlab reads"):
        load_model(tmp_path, "last")
    assert not list(tmp_path.glob(".corrupt-*"))


@pytest.fixture
def golden(tmp_path, monkeypatch):
    """A run that an older rnnlab wrote, in an outputs folder of its own."""

    def copy(version: int) -> Path:
        folder = tmp_path / "outputs" / f"format-{version}"
        shutil.copytree(GOLDEN / f"format-{version}", folder)
        for link in ("last", "best"):
            (folder / "checkpoints" / link).symlink_to("step-00000008")
        monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
        monkeypatch.chdir(folder)
        return folder

    return copy


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_a_run_of_every_format_that_was_ever_written_goes_on(golden, version):
    folder = golden(version)
    manifest = json.loads((folder / f"checkpoints/step-00000008/{MANIFEST}").read_bytes())
    assert manifest["format"] == version
    counters = load_training(folder / "checkpoints")[1]["counters"]
    assert (counters["step"], counters["skipped"], counters["rollbacks"]) == (8, 0, 0)
    assert main(["train", f"resume=format-{version}", "trainer.max_steps=12"]) == 0
    assert json.loads((folder / "checkpoints/last" / MANIFEST).read_bytes())["format"] == FORMAT
    result = read_json(folder / "result.json")
    assert (result["steps"], result["status"]) == (12, "done")
    # Other processors round other last bits.
    assert result["metrics"]["valid/loss"] == pytest.approx(GOLDEN_LOSS, abs=1e-4)
    assert main(["generate", f"run=format-{version}", "length=3"]) == 0
