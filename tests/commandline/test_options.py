from pathlib import Path

import pytest

from rnnlab.commandline.options import check_writable, names
from rnnlab.errors import CannotWriteError, ConfigError


def test_names_are_split_and_each_is_kept_once():
    assert names("--shapes", "S, M,S", ["S", "M", "L"]) == ["S", "M"]


def test_a_name_that_is_not_known_is_told_with_the_closest():
    with pytest.raises(ConfigError, match="--cells: expected some of gru,lstm, got 'lstn'; did you mean lstm?"):
        names("--cells", "gru,lstn", ["gru", "lstm"])


def test_a_file_needs_a_folder_that_is_there(tmp_path):
    check_writable(None)
    check_writable(tmp_path / "x.json")
    check_writable(Path("x.json"))
    with pytest.raises(CannotWriteError, match="cannot write .*no/x.json: there is no folder .*no"):
        check_writable(tmp_path / "no" / "x.json")
