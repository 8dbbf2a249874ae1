import json
import re
from xml.etree import ElementTree

from rnnlab.generation.abc.notation import draw
from rnnlab.generation.abc.page import tunes_page
from rnnlab.generation.abc.performance import perform

TUNE = """X:1
T:Every <sign>
M:3/4
L:1/8
K:Eb
|:E^F =G_A B/c/d/e/|(3efg [EGB]2 z2|1 G,2 A,2 c'2:|2 B6-||B4 ^^c__d|z6|z3 z/z/ z2|[K:A]e3/2f/ g2>a2|[M:2/4]c4|]
"""


def groups(svg: str) -> dict[str, ElementTree.Element]:
    """The notes of a score by id; parsing it shows that it is well-formed."""
    root = ElementTree.fromstring(svg)
    return {element.attrib["id"]: element for element in root.iter() if "id" in element.attrib}


def test_every_note_and_rest_is_drawn_once_under_its_own_id():
    performance = perform(TUNE)
    svg = draw(performance, "t1")
    written = [
        f"t1-0-{bar}-{number}"
        for bar, content in enumerate(performance.music.voices[0].bars)
        for number in range(len(content.notes))
    ]
    assert sorted(groups(svg)) == sorted(written)
    assert svg.count('id="') == len(written)


def test_heads_stand_at_the_height_of_their_notes():
    drawn = groups(draw(perform("X:1\nM:4/4\nL:1/4\nK:C\nE G B f|\n"), "n"))
    heads = [float(group.find(".//{*}ellipse").attrib["cy"]) for group in drawn.values()]  # type: ignore[union-attr]
    assert heads == [40, 30, 20, 0]  # the lines from the lowest up, and the highest


def test_a_new_key_or_metre_begins_a_line():
    metres = re.findall(r'class="metre"[^>]*>(\d+)<', draw(perform(TUNE), "n"))
    assert metres == ["3", "4", "2", "4"]


def test_a_page_needs_nothing_from_elsewhere_and_knows_when_each_note_sounds():
    page = tunes_page([TUNE, "no tune <here>"], 'Tunes of "a" & <b>')
    assert not re.search(r"(src|href)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert "<title>Tunes of &quot;a&quot; &amp; &lt;b&gt;</title>" in page
    assert "1. Every &lt;sign&gt;" in page
    assert "no sound: the tune has no key" in page
    assert "no tune &lt;here&gt;" in page
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    content = json.loads(data)
    performance = perform(TUNE)
    assert len(content["notes"]) == len(performance.notes)
    drawn = set(groups(draw(performance, "t1")))
    assert {note[3] for note in content["notes"]} <= drawn
    assert [note[0] for note in content["notes"]] == sorted(note[0] for note in content["notes"])


def test_a_title_cannot_end_the_script():
    assert tunes_page(["X:1\nT:</script><script>alert(1)\nK:C\nC|\n"], "x").count("<script>") == 1
