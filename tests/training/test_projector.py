import pytest
import torch
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from rnnlab.errors import CannotWriteError
from rnnlab.training.projector import MAX_TOKENS, shown_token, write_projector


def test_the_projector_finds_a_row_and_a_label_for_each_token(tmp_path):
    tokens = ["<unk>", " ", "\n", "\t", "the", "é"]
    vectors = torch.randn(6, 3)
    write_projector(tmp_path, tokens, vectors)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    labels = (tmp_path / embedding.metadata_path).read_text(encoding="utf-8").split("\n")[:-1]
    assert labels == ["<unk>", "\u2423", "\\n", "\\t", "the", "é"]
    rows = [
        [float(number) for number in line.split("\t")]
        for line in (tmp_path / embedding.tensor_path).read_text().splitlines()
    ]
    torch.testing.assert_close(torch.tensor(rows), vectors, rtol=1e-4, atol=0)  # five digits are written


def test_the_most_frequent_tokens_are_enough(tmp_path):
    count = MAX_TOKENS + 5
    write_projector(tmp_path, [f"word{number}" for number in range(count)], torch.zeros(count, 2))
    assert len((tmp_path / "projector/tokens.tsv").read_text().splitlines()) == MAX_TOKENS
    assert len((tmp_path / "projector/vectors.tsv").read_text().splitlines()) == MAX_TOKENS
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "projector").write_text("in the way")
    with pytest.raises(CannotWriteError, match="cannot write .*vectors.tsv"):
        write_projector(tmp_path, ["a"], torch.zeros(1, 2))


def test_a_token_stands_on_one_line():
    assert [shown_token(token) for token in ("a", "", "\r\n", "a b")] == ["a", "", "\\r\\n", "a b"]
