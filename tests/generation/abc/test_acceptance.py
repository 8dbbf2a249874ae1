import pytest

from rnnlab.generation.abc import accepted_by_music21

# Importing music21 warns about what it was built with; that is not for us to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _needs_music21():
    pytest.importorskip("music21")


def test_music21_reads_a_tune():
    assert accepted_by_music21("X:1\nT:Made Up\nM:6/8\nL:1/8\nK:D\nA|def gfe|d3 d2:|\n")


@pytest.mark.parametrize("tune", ["X:1\nM:6/8\nK:D\n", "X:1\nM:6/8\nL:1/8\ndef gfe|\n", "", "M:x/y\nK:G\nGAB|"])
def test_music21_refuses_what_has_no_notes_or_no_key(tune):
    assert not accepted_by_music21(tune)
