import pytest

from rnnlab.generation.abc.performance import perform

C, D, E, F, G, A = 60, 62, 64, 65, 67, 69


def tune(music: str, header: str = "M:4/4\nL:1/4\nK:C") -> str:
    return f"X:1\n{header}\n{music}\n"


def melody(music: str, header: str = "M:4/4\nL:1/4\nK:C") -> list[int]:
    return [note.semitone for note in perform(tune(music, header)).notes]


def quarters(music: str) -> list[tuple[float, float]]:
    """Start and length of each note in quarter notes."""
    return [(float(note.start * 4), float(note.length * 4)) for note in perform(tune(music)).notes]


@pytest.mark.parametrize(
    ("music", "played"),
    [
        ("C|D:|", [C, D, C, D]),
        ("C|:D:|E", [C, D, D, E]),
        ("C:|D:|", [C, C, D, D]),
        ("C::D:|", [C, C, D, D]),
        ("C:|:D:|", [C, C, D, D]),
        ("|:C|1D:|2E|]", [C, D, C, E]),
        ("|:C [1D:|[2E|]F", [C, D, C, E, F]),
        ("|:C|1,3D:|2E:|4F|]", [C, D, C, E, C, D, C, F]),
        ("|:C|1-3D:|4F|]", [C, D, C, D, C, D, C, F]),
        ("C|1D:|2E||F|1G:|2A|]", [C, D, C, E, F, G, F, A]),
        ("C|1D:|2E:|F:|", [C, D, C, E, F, F]),
        ("C||D:|", [C, D, D]),  # a repeat without a beginning goes back to the double bar
        ("|:C||D:|", [C, D, C, D]),  # one with a beginning goes back to it
        ("C:|D|1E:|2F:|3G", [C, C, D, E, D, F, D, G]),
        ("CD|E", [C, D, E]),
        ("|1 C:|2 D|]", [C, D]),
        ("C|1D|2E|3F", [C, D]),  # nothing says to repeat
    ],
)
def test_repeats_and_endings(music, played):
    assert melody(music) == played


def test_ties_make_one_note_and_slurs_do_not():
    assert quarters("C-C (CC)") == [(0, 2), (2, 1), (3, 1)]
    assert quarters("C2-|C2-|C D") == [(0, 5), (5, 1)]
    assert quarters("C-D") == [(0, 1), (1, 1)]  # another pitch: nothing to hold
    assert quarters("[CE]-[CG]") == [(0, 1), (0, 2), (1, 1)]


def test_chords_rests_broken_rhythm_and_tuplets_have_their_place():
    assert quarters("[CE]2 z D") == [(0, 2), (0, 2), (3, 1)]
    assert quarters("C>D E<F") == [(0, 1.5), (1.5, 0.5), (2, 0.5), (2.5, 1.5)]
    starts = [start for start, _ in quarters("(3CDE F")]
    assert starts == pytest.approx([0, 2 / 3, 4 / 3, 2], abs=1e-12)  # fractions turned into floats
    assert quarters("C2 & E D|F") == [(0, 1), (0, 2), (1, 1), (2, 1)]


def test_voices_sound_together():
    notes = perform(tune("V:1\nC|D|\nV:2\nE2|")).notes
    assert [(float(note.start * 4), note.semitone) for note in notes] == [(0, E), (0, C), (1, D)]
    assert {note.place[0] for note in notes} == {0, 1}


def test_the_beat_is_three_eighths_in_compound_time_unless_the_tune_says_its_own():
    seconds = {
        "M:4/4\nK:C": 0.25,  # an eighth at 120 quarters a minute
        "M:6/8\nK:C": 60 / 120 / 3,
        "M:4/4\nQ:1/4=60\nK:C": 0.5,
        "M:6/8\nQ:3/8=60\nK:C": 1 / 3,
        "M:4/4\nQ:60\nK:C": 0.5,
        'M:4/4\nQ:"slow" 1/4=60\nK:C': 0.5,
        "M:4/4\nQ:1/4=0\nK:C": 0.25,
    }
    for header, eighth in seconds.items():
        performance = perform(tune("C", f"L:1/8\n{header}"))
        assert performance.seconds == pytest.approx(eighth, rel=1e-12), header


def test_what_is_no_music_is_passed_over_and_counted():
    performance = perform(tune("C@ D> | E hey F"))
    assert [note.semitone for note in performance.notes] == [C, D, E, E + 12, F]  # the e of "hey" is a note
    assert performance.music.num_skipped == 3  # @, > without a note after it, h


@pytest.mark.parametrize(("text", "reason"), [("X:1\nK:C\nz4|\n", "there is no note in it"), ("hello", "has no key")])
def test_without_a_note_or_a_key_nothing_is_played(text, reason):
    with pytest.raises(ValueError, match=reason):
        perform(text)


def test_notes_that_nobody_hears_are_left_out():
    assert melody("C c" + "'" * 8 + " D") == [C, D]


@pytest.mark.parametrize(
    ("music", "reason"),
    [
        ("A99999999", "lasts more than 500 whole notes"),
        ("A" + "9" * 400, "lasts more than 500 whole notes"),
        ("c" + "'" * 5000, "there is no note in it"),
        ("A" + "9" * 5000, "there is no note in it"),
    ],
)
def test_what_a_bad_model_writes_neither_fills_the_memory_nor_ends_a_run(music, reason):
    with pytest.raises(ValueError, match=reason):
        perform(tune(music))


def test_a_text_of_nothing_but_repeats_ends():
    assert len(perform(tune("|:C" * 50 + ":|1:|2:|9" * 50)).notes) < 2000
