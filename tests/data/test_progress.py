"""Bars for what takes a while."""

from __future__ import annotations

import io
import sys

from rnnlab.data import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_items_pass_through_and_no_bar_is_drawn_where_there_is_no_terminal(monkeypatch):
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    assert list(progress.bar(range(5), "reading", "line")) == [0, 1, 2, 3, 4]
    assert told.getvalue() == ""


def test_a_terminal_sees_what_is_done_how_fast_and_how_long_still(monkeypatch):
    told = Terminal()
    monkeypatch.setattr(sys, "stderr", told)
    monkeypatch.setattr(progress, "_DELAY_SECONDS", 0)
    assert list(progress.bar([1, 2, 3], "reading sotu", "text")) == [1, 2, 3]
    assert "reading sotu" in told.getvalue()
    assert "/3 [00:00<" in told.getvalue()
    assert "text/s" in told.getvalue() or "? text" in told.getvalue()
