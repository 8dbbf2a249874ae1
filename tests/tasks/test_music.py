import math

import pytest
import torch

from rnnlab.errors import DataError
from rnnlab.tasks.base import score
from rnnlab.tasks.music import END

CPU = torch.device("cpu")


def tune(number, music="A2 B2 c2"):
    return f"X:{number}\nT:Tune {number}\nM:4/4\nK:D\n{music}{number} |]\n"


@pytest.fixture
def own(tmp_path, tasks):
    """A task on tunes of one's own: lists of them, one a split."""

    def make(train, valid=None, test=None, **settings):
        for split, tunes in (("train", train), ("valid", valid or [tune(101)]), ("test", test or [tune(102)])):
            (tmp_path / f"{split}.abc").write_text("\n".join(tunes))
        return tasks.new("music", corpus=str(tmp_path), **settings)

    return make


def tunes_of(task, split):
    return ["".join(task.vocabulary.decode(ids[1:-1])) for ids in task._ids[split]]


def test_characters_and_the_end_of_each_tune_are_counted(tasks):
    task = tasks.read("music")
    characters = sum(len(text) for text in tunes_of(task, "test"))
    num_tunes = task.corpus["test_tunes"]
    assert task.corpus["test_chars"] == characters + num_tunes
    assert score(task, tasks.model(task), "test", batch_size=3, device=CPU).details() == {
        "targets": characters + num_tunes
    }


def test_the_bits_of_a_uniform_guess_are_log_2_of_the_characters(tasks):
    task = tasks.read("music")
    model = tasks.model(task)
    with torch.no_grad():
        model.decoder_weight.zero_()
        model.decoder_bias.zero_()
    results = score(task, model, "valid", batch_size=2, device=CPU).results()
    # log V in float32 has seven digits.
    assert results["bits_per_char"] == pytest.approx(math.log2(len(task.vocabulary)), rel=1e-6)


def test_every_tune_stands_between_two_ends(tasks):
    task = tasks.read("music")
    end = task.vocabulary.id_of(END)
    assert task.stop_id == end
    for split in ("train", "valid", "test"):
        for ids in task._ids[split]:
            assert [place for place, token in enumerate(ids) if token == end] == [0, len(ids) - 1]


def test_tunes_too_long_are_left_out_of_training_and_of_nothing_else(own):
    long = tune(3, "A2 " * 50)
    task = own([tune(1), tune(2), long], valid=[tune(4, "B2 " * 50)], max_len=60)
    task.read_corpus()
    assert task.corpus["train_tunes"] == 2
    assert task.corpus["longer_left_out"] == 1
    assert task.corpus["valid_tunes"] == 1
    assert task.training_tunes == tunes_of(task, "train")
    everything = own([tune(1), tune(2), long], max_len=None)
    everything.read_corpus()
    assert everything.corpus["train_tunes"] == 3


def test_no_tune_short_enough_is_an_error_that_says_what_to_raise(own):
    with pytest.raises(DataError, match=r"no tune of .* has at most task\.max_len=8 characters; raise it"):
        own([tune(1)], max_len=8).read_corpus()


def test_a_character_seen_in_no_training_tune_is_unknown_and_counted(own, tasks):
    task = own([tune(1), tune(2)], test=[tune(3, "^A2")])
    task.read_corpus()
    assert "^" not in task.vocabulary
    assert tunes_of(task, "test")[0].count("<unk>") == 3  # ^ and both 3
    scores = score(task, tasks.model(task), "test", batch_size=1, device=CPU)
    assert scores.details()["targets"] == len(task._ids["test"][0]) - 1


def test_a_prompt_of_unseen_characters_is_refused_and_names_five(tasks):
    task = tasks.read("music")
    with pytest.raises(DataError, match=r"characters that no training tune has: 'é' 'ü' '♥'; leave them out"):
        task.encode_prompt("X:1 ♥éü♥")
    with pytest.raises(DataError, match=r"has: '!' '\$' '%' '&' '@'; leave"):
        task.encode_prompt("@!$%&~")


def test_a_prompt_begins_a_tune(tasks):
    task = tasks.read("music")
    assert task.encode_prompt("") == [task.vocabulary.id_of(END)]
    assert task.decode(task.encode_prompt("X:1\nM:4")) == "X:1\nM:4"
    assert task.encode_prompt("X:1\\nM:4") == task.encode_prompt("X:1\nM:4"), "as typed in a shell"
    texts = task.generate(tasks.model(task), "X:1", count=2, length=9, temperature=1, top_k=None, top_p=None, seed=0)
    assert all(text.startswith("X:1") for text in texts)


def test_a_tune_ends_at_its_end(tasks):
    task = tasks.read("music")
    model = tasks.model(task)
    with torch.no_grad():
        model.decoder_weight.zero_()
        model.decoder_bias.zero_()
        model.decoder_bias[task.stop_id] = 1  # ends after a dozen characters or so
    texts = task.generate(model, "", count=20, length=50, temperature=1, top_k=None, top_p=None, seed=0)
    assert not any(END in text for text in texts)
    assert len({len(text) for text in texts}) > 3
    assert min(map(len, texts)) < 50


def test_the_state_is_carried_inside_a_tune_and_not_into_the_next(tasks):
    windows = tasks.read("music").train_windows(0)
    previous_rows = None
    for index in range(len(windows)):
        window, rows = windows[index], windows.indices(index).tolist()
        assert bool(window.starts.all()) == (rows != previous_rows)
        previous_rows = rows


def test_the_hash_tells_splits_apart(own):
    tunes = [tune(number) for number in range(1, 6)]
    hashes = set()
    for border in (2, 3):
        task = own(tunes[:border], valid=tunes[border:4], test=tunes[4:])
        task.read_corpus()
        task.restore({**task.dump(), "tokens": ["<end>", "<unk>", *sorted(set("".join(tunes)))]})
        task.read_corpus()
        hashes.add(task.corpus["sha256"])
    assert len(hashes) == 2, "the same tunes in the same order, divided at another place"
