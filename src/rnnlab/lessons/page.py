"""Lessons as HTML pages, to hand out and to print, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from rnnlab.lessons.lesson import Given
from rnnlab.reports import html
from rnnlab.reports.axes import number

WIDTH = 88
_LONGEST = 6  # numbers of a list that are shown


def one_page(given: Given, footer: str) -> str:
    """Return the page of one lesson."""
    body = [html.head(given.lesson.title, "", f"rnnlab lesson {given.name}"), *_content(given)]
    return html.page(f"{given.name} - rnnlab lessons", body, footer)


def whole_page(lessons: Sequence[Given], failed: Sequence[tuple[str, str]], footer: str) -> str:
    """Return one page of many lessons.

    Args:
        lessons: in their order.
        failed: names of those that did not come to an end, with why.
        footer: who made the page, and when.
    """
    shown = [given.finding.holds for given in lessons]
    line = f"{len(lessons)} claims, each measured on rnnlab's own code; {sum(shown)} came out as expected."
    body = [html.head("Recurrent networks, measured", "", line)]
    body.append(html.contents((given.name, given.lesson.title, given.finding.verdict) for given in lessons))
    body += [html.said(f"{name} did not come to an end: {why}", "failed") for name, why in failed]
    for given in lessons:
        body.append(html.section([html.heading(given.lesson.title, given.name), *_content(given)]))
    return html.page("rnnlab lessons", body, footer)


def _content(given: Given) -> Iterator[str]:
    lesson, finding = given.lesson, given.finding
    yield from map(html.paragraph, lesson.text)
    yield html.code(lesson.equation)
    places = [(f"{file}:{line}", text) for file, line, text in given.places]
    yield html.table(("computed in", "by the line"), places, left=2, code=True)
    yield html.said(finding.verdict, "done" if finding.holds else "failed")
    yield html.figures(html.figure(one.picture, one.title, one.series, one.note) for one in finding.figures)
    if finding.rows:
        yield html.table(finding.headings, finding.rows, left=1)
    yield html.paragraph(_expectation(given))
    numbers = [(name, _shown(value)) for name, value in finding.numbers.items()]
    yield html.folded("all numbers", html.table(("measured", "value"), numbers, left=1))
    yield html.paragraph(f"Sources: {lesson.sources}. {_how(given)}")


def as_text(given: Given) -> str:
    """Return a lesson for a terminal."""
    lesson, finding = given.lesson, given.finding
    lines = [lesson.title, ""]
    for paragraph in lesson.text:
        lines += [*wrap(paragraph, WIDTH), ""]
    lines += [*(f"    {line}" for line in lesson.equation.splitlines()), ""]
    for file, line, text in given.places:
        lines.append(f"  {file}:{line}  {text}")
    lines.append("")
    width = max(map(len, finding.numbers))
    lines += [f"  {name:<{width}}  {_shown(value)}" for name, value in finding.numbers.items()]
    lines += ["", *wrap(finding.verdict, WIDTH), ""]
    lines += wrap(_expectation(given), WIDTH)
    return "\n".join([*lines, *wrap(f"Sources: {lesson.sources}. {_how(given)}", WIDTH)])


def _expectation(given: Given) -> str:
    return f"Expected: {given.lesson.expected}. {'It is so here.' if given.finding.holds else 'It is NOT so here.'}"


def _how(given: Given) -> str:
    form = "The short form, with less training; seed" if given.is_quick else "Seed"
    return f"{form} {given.seed}, {given.seconds:.1f} s of CPU time."


def _shown(value: float | int | list[float]) -> str:
    """Write a number, or a list of such, its middle left out where it is long."""
    if not isinstance(value, list):
        return number(value)
    words = [number(one) for one in value]
    if len(words) > _LONGEST:
        words = [*words[: _LONGEST - 2], "...", *words[-2:]]
    return ", ".join(words)
