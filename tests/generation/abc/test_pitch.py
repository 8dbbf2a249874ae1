import pytest

from rnnlab.generation.abc.pitch import Accidentals, Key, read_key


@pytest.mark.parametrize(
    ("key", "fifths", "altered"),
    [
        ("C", 0, {}),
        ("G", 1, {"F": 1}),
        ("D Mixolydian", 1, {"F": 1}),
        ("Ador", 1, {"F": 1}),
        ("Em", 1, {"F": 1}),
        ("Bb", -2, {"B": -1, "E": -1}),
        ("Gm", -2, {"B": -1, "E": -1}),
        ("F#m", 3, {"F": 1, "C": 1, "G": 1}),
        ("E Phrygian", 0, {}),
        ("Flyd", 0, {}),
        ("Bloc", 0, {}),
        ("C#", 7, dict.fromkeys("FCGDAEB", 1)),
        ("G#", 8, {"F": 2, "C": 1, "G": 1, "D": 1, "A": 1, "E": 1, "B": 1}),
        ("D ^g", 2, {"F": 1, "C": 1, "G": 1}),
        ("Gm ^f =e", -2, {"B": -1, "E": 0, "F": 1}),
        ("D exp _b ^f", 0, {"B": -1, "F": 1}),
        ("Hp", 2, {"F": 1, "C": 1}),
        ("none", 0, {}),
    ],
)
def test_a_key_alters_its_letters(key, fifths, altered):
    read = read_key(key)
    assert (read.fifths, read.alterations) == (fifths, altered)


def test_the_mode_that_a_midi_file_knows_is_minor():
    assert [read_key(key).is_minor for key in ("Am", "A minor", "Aaeo", "A", "Amix", "Ador")] == [True] * 3 + [
        False
    ] * 3


def semitones(accidentals: Accidentals, text: str) -> list[int]:
    return [pitch.semitone for pitch in accidentals.read(text)]


def test_octaves_go_up_from_small_letters_and_marks():
    assert semitones(Accidentals(Key(0, {})), "C,,C,Ccc'c''") == [36, 48, 60, 72, 84, 96]


def test_an_accidental_holds_to_the_bars_end_in_every_octave():
    bar = Accidentals(read_key("D"))
    assert semitones(bar, "F=FFf") == [66, 65, 65, 77]
    assert semitones(bar, "^^F__B") == [67, 69]
    bar.end_bar()
    assert semitones(bar, "FB") == [66, 71]


def test_a_tie_carries_an_accidental_over_the_bar_line_to_one_note():
    bar = Accidentals(Key(0, {}))
    bar.tie(bar.read("^c"))
    bar.end_bar()
    assert semitones(bar, "c") == [73]
    assert semitones(bar, "c") == [72]
