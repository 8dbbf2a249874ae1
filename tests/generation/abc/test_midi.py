import pytest

from rnnlab.generation.abc.midi import midi_bytes
from rnnlab.generation.abc.performance import perform

TUNE = "X:1\nT:Café\nM:6/8\nL:1/8\nQ:3/8=100\nK:Gm\n|:G3 (3ABc|1 [Bd]2-[Bd] z3:|2 ^f6|]\n"


def events(content: bytes) -> list[tuple[int, bytes]]:
    """Tick and message of every event, read by the book."""
    assert content[:14] == b"MThd\0\0\0\6\0\0\0\1\1\xe0"
    assert content[14:18] == b"MTrk"
    track = content[22:]
    assert len(track) == int.from_bytes(content[18:22], "big")
    found, tick, place = [], 0, 0

    def number() -> int:
        nonlocal place
        value = 0
        while True:
            byte = track[place]
            place += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    while place < len(track):
        tick += number()
        start = place
        place += 1
        if track[start] == 0xFF:
            place += 1
            size = number()
            place += size
        else:
            place += {0x80: 2, 0x90: 2, 0xC0: 1}[track[start] & 0xF0]
        found.append((tick, track[start:place]))
    return found


def test_every_note_begins_and_ends_where_it_is_played():
    performance = perform(TUNE)
    sounding: dict[int, int] = {}
    spans = []
    for tick, message in events(midi_bytes(performance)):
        if message[0] == 0x90:
            assert message[1] not in sounding
            sounding[message[1]] = tick
        elif message[0] == 0x80:
            spans.append((sounding.pop(message[1]), tick, message[1]))
    assert not sounding
    played = [
        (round(note.start * 1920), round((note.start + note.length) * 1920), note.semitone)
        for note in performance.notes
    ]
    assert sorted(spans) == sorted(played)
    assert len(spans) == 2 * 4 + 2 + 1


def test_the_head_names_title_tempo_key_and_metre():
    head = [message for tick, message in events(midi_bytes(perform(TUNE))) if tick == 0 and message[0] == 0xFF]
    assert head == [
        b"\xff\x03\x05Caf\xc3\xa9",
        b"\xff\x51\x03" + (400_000).to_bytes(3, "big"),  # 100 x 3/8 a minute: a quarter note lasts 0.4 s
        b"\xff\x59\x02\xfe\x01",  # two flats, minor
        b"\xff\x58\x04\x06\x03\x18\x08",
    ]
    assert events(midi_bytes(perform(TUNE)))[-1][1] == b"\xff\x2f\x00"


def test_a_note_that_begins_again_in_another_voice_ends_first():
    performance = perform("X:1\nM:4/4\nL:1/4\nK:C\nV:1\nC4|\nV:2\nz C2 z|\n")
    notes = [(tick, message[0]) for tick, message in events(midi_bytes(performance)) if message[0] in (0x80, 0x90)]
    assert notes == [(0, 0x90), (480, 0x80), (480, 0x90), (1440, 0x80)]


@pytest.mark.filterwarnings("ignore")
def test_music21_reads_the_same_notes(tmp_path):
    music21 = pytest.importorskip("music21")
    path = tmp_path / "tune.mid"
    performance = perform("X:1\nM:4/4\nL:1/4\nK:D\nD F A>d | [FA]4 |]\n")
    path.write_bytes(midi_bytes(performance))
    heard = sorted(
        (float(element.offset), pitch.midi)
        for element in music21.converter.parse(path).flatten().notes
        for pitch in element.pitches
    )
    assert heard == sorted((float(note.start * 4), note.semitone) for note in performance.notes)
