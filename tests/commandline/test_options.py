import argparse
from pathlib import Path

import pytest

from rnnlab.commandline.options import check_writable, names, one_line_errors
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


def test_what_is_missing_is_told_with_where_it_is_listed():
    parser = argparse.ArgumentParser(prog="rnnlab show")
    parser.add_argument("run", metavar="RUN")
    with pytest.raises(ConfigError, match=r"^rnnlab show needs RUN \(rnnlab runs lists them\)$"):
        one_line_errors(parser).parse_args([])
