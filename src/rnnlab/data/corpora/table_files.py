"""Reading rows of (text, label) from .csv, .tsv and .jsonl files, strictly: every error names the line."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnlab.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl")
_FIELD_LIMIT = 2**31 - 1
_WANTED_JSON = 'wanted one JSON object a line, {"text": ..., "label": ...}'
_DELIMITERS = {";": "semicolon", "\t": "tab", "|": "bar"}
_SHOWN = 40  # characters of a column's name: without a header it is a text
_MAX_LABEL = 200  # characters; what is longer is a text in the wrong column


def read_rows(
    text: str, path: Path, *, text_column: str, label_column: str, only: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
    r"""Read the text and the label of every row.

    Labels lose white space at both ends, so that 1, "1" and " 1" are one label.

    Args:
        text: the file's content, with line ends "\n".
        path: the file's path; its suffix says how to read it.
        text_column: name of the column with the text.
        label_column: name of the column with the label.
        only: keep rows that have these values in these columns; None: all.

    Returns:
        Texts and labels, in the order of the file.

    Raises:
        DataError: the file's name ends in something else, a column is missing or there twice, a
            quote is not closed, a row has too many or too few fields, a text or label is empty, a label is no name, or
            there is no row.
    """
    columns = [text_column, label_column, *(only or {})]
    match path.suffix.lower():
        case ".csv":
            rows = list(_delimited_rows(text, path, columns, ","))
        case ".tsv":
            rows = list(_delimited_rows(text, path, columns, "\t"))
        case ".jsonl":
            rows = list(_json_rows(text, path, columns, label_column))
        case suffix:
            raise DataError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}, got {suffix!r}")
    wanted = list((only or {}).values())
    texts, labels = [], []
    for line, (row_text, label, *rest) in rows:
        if rest != wanted:
            continue
        if not row_text.strip():
            raise DataError(f"{path}, line {line}: empty text in column {text_column!r}; remove the row")
        if not label.strip():
            raise DataError(f"{path}, line {line}: empty label in column {label_column!r}; remove the row")
        if wrong := _label_problem(label.strip()):
            raise DataError(f"{path}, line {line}: {wrong} in column {label_column!r}; is it the right column?")
        texts.append(row_text)
        labels.append(label.strip())
    if not texts:
        raise DataError(f"{path} has no row of data")
    return texts, labels


def _label_problem(label: str) -> str | None:
    """Return why a label cannot be shown as the name of a class, or None."""
    if len(label) > _MAX_LABEL:
        return f"a label of {len(label):,} characters, wanted at most {_MAX_LABEL},"
    if label.isprintable():
        return None
    if any(unicodedata.category(c) == "Cc" for c in label) or not any(c.isprintable() for c in label):
        return f"the label {label!r}, which cannot be shown,"
    return None


def _delimited_rows(text: str, path: Path, columns: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The chosen columns of each row, with the line it starts in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    with _field_limit(_FIELD_LIMIT):
        try:
            header = next(reader)
            places = _places(header, path, columns)
            while True:
                line = reader.line_num + 1
                row = next(reader, None)
                if row is None:
                    return
                if not row:
                    continue
                if len(row) != len(header):
                    raise DataError(
                        f"{path}, line {line}: got {len(row)} fields, wanted {len(header)} as in the header; "
                        "is a quote not closed, or a delimiter not quoted?"
                    )
                yield line, [row[place] for place in places]
        except csv.Error as error:
            reason = "a quote is not closed" if "unexpected end" in str(error) else f"not valid CSV, {error}"
            raise DataError(f"{path}, row that starts in line {line}: {reason}") from None


def _places(header: Sequence[str], path: Path, columns: Sequence[str]) -> list[int]:
    for column in columns:
        if header.count(column) > 1:
            raise DataError(f"{path}: column {column!r} is there {header.count(column)} times, wanted once")
        if column not in header:
            raise _missing(path, 1, column, header)
    return [header.index(column) for column in columns]


def _json_rows(text: str, path: Path, columns: Sequence[str], label_column: str) -> Iterator[tuple[int, list[str]]]:
    for line, row_text in enumerate(text.split("\n"), start=1):
        if not row_text.strip():
            continue
        try:
            row = json.loads(row_text, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            # Its own message counts lines too, within this one.
            reason = f"{error.msg}: column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"{path}, line {line}: not JSON, {reason}; {_WANTED_JSON}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {line}: got {row_text.strip()[:20]}; {_WANTED_JSON}")
        values = []
        for column in columns:
            if column not in row:
                raise _missing(path, line, column, list(row))
            value = row[column]
            if isinstance(value, bool) and column == label_column:
                value = json.dumps(value)
            if not isinstance(value, str | int) or isinstance(value, bool):
                what = "a string, a whole number, true or false" if column == label_column else "a string"
                raise DataError(f"{path}, line {line}: {column!r} must be {what}, got {json.dumps(value)[:_SHOWN]}")
            if isinstance(value, str) and (escaped := next((c for c in value if c == "\0" or _is_half(c)), None)):
                raise DataError(f"{path}, line {line}: {column!r} holds {escaped!r}, which is no character of a text")
            values.append(str(value))
        yield line, values


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of a JSON object's pairs; json itself would silently keep the last of two equal keys."""
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return row


def _is_half(character: str) -> bool:
    """Whether it is half of a surrogate pair, which JSON can escape and no file can hold."""
    return "\ud800" <= character <= "\udfff"


def _missing(path: Path, line: int, column: str, there: Sequence[str]) -> DataError:
    shown = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..." for name in there[:10]]
    names = ", ".join(map(repr, shown)) + (", ..." if len(there) > 10 else "")
    advice = "name yours with task.text_column and task.label_column"
    if path.suffix.lower() == ".csv" and len(there) == 1:
        found = next((mark for mark in _DELIMITERS if mark in there[0]), None)
        if found is not None:
            advice = f"the {_DELIMITERS[found]}s look like the delimiter: wanted commas, or tabs in a .tsv file"
    elif path.suffix.lower() != ".jsonl":
        advice += ", which the first line must hold"
    return DataError(f"{path}, line {line}: no column {column!r}; there are {names}; {advice}")


@contextmanager
def _field_limit(limit: int) -> Iterator[None]:
    """Let fields be as long as they are; the csv module keeps its limit for the whole process."""
    before = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(before)
