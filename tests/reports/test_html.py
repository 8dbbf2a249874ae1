"""Pages: whole, alone, and safe whatever a name or a text holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from rnnlab.reports import html

EVIL = "</pre><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\""
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Tags(HTMLParser):
    """Collects tags and checks that each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags_of(page: str) -> list[tuple[str, dict]]:
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.seen


def everything(text: str) -> str:
    parts = [
        html.head(text, text, text),
        html.heading(text),
        html.heading(text, text),
        html.contents([(text, text, text)]),
        html.section([html.said(text, text)]),
        html.paragraph(text),
        html.cards([(text, text)]),
        html.table((text, "b"), [(text, html.status_of(text))], left=1, best=0, code=True),
        html.confusion([text, "b"], [[3, 1], [0, 0]]),
        html.code(text, is_sample=True),
        html.figures([html.figure("<svg></svg>", text, [(text, "red")], text, is_whole=True)], small=True),
        html.folded(text, html.code(text)),
    ]
    return html.page(text, parts, text)


def test_nothing_that_is_put_in_becomes_a_tag():
    names = {tag for tag, _ in tags_of(everything(EVIL))}
    assert names == {tag for tag, _ in tags_of(everything("plain"))}
    assert not names & {"script", "img"}
    assert not [
        attributes for _, attributes in tags_of(everything(EVIL)) if any(key.startswith("on") for key in attributes)
    ]


def test_a_page_fetches_nothing():
    page = everything("plain")
    assert not re.search(r"https?:|url\(|@import|<link|src=", page)
    policies = [attributes["content"] for tag, attributes in tags_of(page) if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_a_page_is_fit_for_a_phone_and_for_paper():
    page = everything("plain")
    assert 'name="viewport"' in page
    assert "@media print" in page
    assert "prefers-color-scheme: dark" in page


def test_a_confusion_matrix_shades_by_share_of_the_true_class():
    matrix = html.confusion(["neg", "pos"], [[75, 25], [0, 0]])
    assert 'rgb(var(--band) / 0.45)" title="75.0% of neg">75<' in matrix
    assert matrix.count("0.00)") == 2  # a class that never came divides by nothing
