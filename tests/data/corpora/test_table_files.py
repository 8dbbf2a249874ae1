import csv
from pathlib import Path

import pytest

from rnnlab.data.corpora.table_files import read_rows
from rnnlab.errors import DataError


def rows_of(text, suffix=".csv", **columns):
    return read_rows(text, Path(f"own{suffix}"), **{"text_column": "text", "label_column": "label", **columns})


def test_quoted_commas_quotes_and_line_ends_are_part_of_the_text():
    assert rows_of('text,label\n"a, ""b""\nc",pos\nd,neg\n') == (['a, "b"\nc', "d"], ["pos", "neg"])


def test_tabs_and_json_lines_give_the_same_rows():
    wanted = (["a, b", "c"], ["pos", "1"])
    assert rows_of("label\ttext\npos\ta, b\n1\tc\n", ".tsv") == wanted
    assert rows_of('{"text": "a, b", "label": "pos"}\n\n{"label": 1, "text": "c"}', ".jsonl") == wanted


def test_labels_of_json_may_be_true_and_false():
    assert rows_of('{"text": "a", "label": true}\n{"text": "b", "label": false}', ".jsonl")[1] == ["true", "false"]


def test_columns_are_found_by_name_and_others_ignored():
    assert rows_of("id,review,stars\n7,fine,4\n", text_column="review", label_column="stars") == (["fine"], ["4"])


def test_rows_are_chosen_by_another_column():
    assert rows_of("text,label,source\na,0,x\nb,1,y\n", only={"source": "y"}) == (["b"], ["1"])


def test_labels_lose_white_space_so_that_they_are_one():
    assert rows_of('text,label\na, 1\nb,"1"\nc,1\n')[1] == ["1", "1", "1"]


def test_a_field_may_be_longer_than_the_limit_of_the_csv_module():
    limit = csv.field_size_limit()
    texts, _ = rows_of(f"text,label\n{'x' * 200_000},pos\n")
    assert len(texts[0]) == 200_000
    assert csv.field_size_limit() == limit


def test_separators_that_are_not_newlines_do_not_end_rows():
    assert rows_of("text,label\na\u2028b\x0bc,pos\n")[0] == ["a\u2028b\x0bc"]
    assert rows_of('{"text": "a\u2028b", "label": "x"}\n', ".jsonl")[0] == ["a\u2028b"]


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ('text,label\na,pos\n"b,neg\nc,pos\n', ".csv", "own.csv, row that starts in line 3: a quote is not closed"),
        ('text,label\n"a" b,pos\n', ".csv", "row that starts in line 2: not valid CSV"),
        ("text,label\na,pos\nb\n", ".csv", "line 3: got 1 fields, wanted 2 as in the header"),
        ("text,label\na,b,pos\n", ".csv", "line 2: got 3 fields, wanted 2"),
        ('text,label\n"a,pos\nb",neg,"c\nd",pos\n', ".csv", "line 2: got 4 fields, wanted 2"),
        (
            "body,label\na,pos\n",
            ".csv",
            "line 1: no column 'text'; there are 'body', 'label'; name yours with task.text_column and "
            "task.label_column, which the first line must hold",
        ),
        (
            "text;label\na, b;pos\n",
            ".csv",
            "there are 'text;label'; the semicolons look like the delimiter: wanted comm",
        ),
        (f"{'long ' * 5000},pos\n", ".csv", r"there are 'long long long long long long long long \.\.\.', 'pos'; name"),
        ("text,label,text\na,pos,b\n", ".csv", "column 'text' is there 2 times, wanted once"),
        ('text,label\n"x\ny",pos\n" ",neg\n', ".csv", "line 4: empty text in column 'text'"),
        ("text,label\na,\n", ".csv", "line 2: empty label in column 'label'"),
        ("text,label\n", ".csv", "own.csv has no row of data"),
        ("\n", ".jsonl", "own.jsonl has no row of data"),
        ('{"text": "a", "label": "x"}\n{"text": "b"', ".jsonl", "line 2: not JSON"),
        ("[" * 100_000, ".jsonl", "line 1: not JSON"),
        ("[1]\n", ".jsonl", r"line 1: got \[1\]; wanted one JSON object a line"),
        ('{"body": "a", "label": "x"}', ".jsonl", "line 1: no column 'text'; there are 'body', 'label'"),
        ('{"text": null, "label": "x"}', ".jsonl", "line 1: 'text' must be a string, got null"),
        ('{"text": true, "label": "x"}', ".jsonl", "line 1: 'text' must be a string, got true"),
        ('{"text": {"a": 1}, "label": "x"}', ".jsonl", r"'text' must be a string, got \{"),
        ('{"text": "a", "label": 0.5}', ".jsonl", "'label' must be a string, a whole number, true or false, got 0.5"),
        ('{"text": "a", "label": NaN}', ".jsonl", "'label' must be a string, a whole number, true or false, got NaN"),
        ("a", ".xlsx", r"own.xlsx: expected a name that ends in .csv, .tsv, .jsonl, got '.xlsx'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text, suffix, message):
    with pytest.raises(DataError, match=message):
        rows_of(text, suffix)
