import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from rnnlab.data.encoded import Encoded


@pytest.fixture
def path(tmp_path):
    entry = Encoded(
        {"ids": np.arange(5, dtype=np.int32), "offsets": np.array([0, 2**40]), "text": np.frombuffer(b"abc", np.uint8)},
        {"share": 0.1 + 0.2, "tokens": ["é", "\ud800"]},
        ["a warning"],
    )
    path = tmp_path / "entry.safetensors"
    path.write_bytes(entry.to_bytes())
    return path


def test_arrays_and_facts_come_back_bit_for_bit(path):
    found = Encoded.load(path)
    assert {name: (array.dtype.str, array.tolist()) for name, array in found.arrays.items()} == {
        "ids": ("<i4", [0, 1, 2, 3, 4]),
        "offsets": ("<i8", [0, 2**40]),
        "text": ("|u1", [97, 98, 99]),
    }
    assert found.facts == {"share": 0.1 + 0.2, "tokens": ["é", "\ud800"]}
    assert found.warnings == ["a warning"]


def test_arrays_are_mapped_and_writing_to_one_leaves_the_file(path):
    before = path.read_bytes()
    torch.from_numpy(Encoded.load(path).arrays["ids"])[0] = 9  # torch would warn of an array that cannot be written to
    assert path.read_bytes() == before
    assert Encoded.load(path).arrays["ids"][0] == 0


def test_other_readers_of_safetensors_can_read_it(path):
    with safe_open(path, framework="numpy") as file:
        assert file.get_tensor("ids").tolist() == [0, 1, 2, 3, 4]
        assert json.loads(file.metadata()["facts"])["warnings"] == ["a warning"]


def test_every_damaged_byte_and_every_cut_is_found(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        if chr(whole[place]).isspace():  # another blank in the header's padding is the same JSON
            continue
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                found = Encoded.load(path)
            except ValueError:
                continue
            # The one place that may differ: how the header writes what it means.
            assert found.arrays["ids"].tolist() == [0, 1, 2, 3, 4], (place, content)


def test_what_is_wrong_is_said_in_a_few_words(path):
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"d")
    with pytest.raises(ValueError, match="^its content has another hash$"):
        Encoded.load(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="^its content has another hash$"):
        Encoded.load(path)
    path.write_bytes(whole[:20])
    with pytest.raises(ValueError, match="^cut off in its header$"):
        Encoded.load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="empty"):
        Encoded.load(path)
