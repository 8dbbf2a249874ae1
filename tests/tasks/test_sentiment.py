import csv
import random

import numpy as np
import pytest
import torch

from rnnlab.config import Truncate
from rnnlab.errors import CheckpointError, DataError
from rnnlab.tasks.base import score
from rnnlab.tasks.sentiment import ClassScores

CPU = torch.device("cpu")
ROWS = [(f"{word} number {number}", label) for number in range(12) for word, label in (("good", "pos"), ("bad", "neg"))]


@pytest.fixture
def own(tmp_path, tasks):
    """A task on texts of one's own: (text, label) rows, a list a split."""

    def make(train=ROWS, valid=(("fine day", "pos"),), test=(("awful day", "neg"),), **settings):
        for split, rows in (("train", train), ("valid", valid), ("test", test)):
            with (tmp_path / f"{split}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("text", "label"), *rows])
        return tasks.new("sentiment", corpus=str(tmp_path), **settings)

    return make


def words_of(task, split):
    return [task.vocabulary.decode(ids) for ids in task._ids[split]]


@pytest.mark.parametrize(
    ("max_len", "truncate", "read"),
    [
        (2, "first", "one two"),
        (2, "last", "four five"),
        (5, "last", "one two three four five"),
        (None, "first", "one two three four five"),
    ],
)
def test_of_a_long_text_the_chosen_end_is_read(own, max_len, truncate, read):
    rows = [("one two three four five", "pos"), ("one", "neg")]
    task = own(
        rows, valid=[("five four three two one", "pos")], min_count=1, max_len=max_len, truncate=Truncate(truncate)
    )
    task.read_corpus()
    assert words_of(task, "train") == [read.split(), ["one"]]
    backwards = "five four three two one".split()
    kept = {"first": backwards[:max_len], "last": backwards[-(max_len or 0) :]}[truncate]
    assert words_of(task, "valid") == [kept], "also where it is scored"
    assert task.corpus["truncated_share"] == (0.5 if max_len == 2 else 0)


def test_truncation_counts_words_and_not_known_words(own, tasks):
    task = own(min_count=1, max_len=3)
    task.read_corpus()
    assert task.predict(tasks.model(task), ["zebra quokka yak good"])[0]["tokens"] == 3


def test_predictions_say_label_probabilities_and_what_was_read(tasks):
    task = tasks.read("sentiment", max_len=5)
    model = tasks.model(task)
    said = task.predict(model, ["The CAT sat zebra!", "on a mat and one old tree"])
    assert [entry["text"] for entry in said] == ["The CAT sat zebra!", "on a mat and one old tree"]
    assert [entry["tokens"] for entry in said] == [5, 5]
    assert [entry["unknown_tokens"] for entry in said] == [2, 0]
    for entry in said:
        assert list(entry["probabilities"]) == ["neg", "pos"]
        assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-12)  # a softmax in float64
        assert entry["label"] == max(entry["probabilities"], key=entry["probabilities"].get)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_prediction_does_not_depend_on_the_texts_beside_it(tasks, cell):
    task = tasks.read("sentiment")
    model = tasks.model(task, cell, bidirectional=True)
    texts = ["the cat sat", "a", "one red bird over two old trees and one more cat", "good"]
    together = task.predict(model, texts)
    assert together == [task.predict(model, [text])[0] for text in texts]
    assert task.predict(model, texts[::-1]) == together[::-1]


def test_prediction_gives_the_model_back_in_its_mode(tasks):
    task = tasks.read("sentiment")
    model = tasks.model(task, dropout=0.5).train()
    first = task.predict(model, ["the cat"])
    assert task.predict(model, ["the cat"]) == first
    assert model.training
    with pytest.raises(DataError, match=r"text 2 has no word to read: ':-\)'"):
        task.predict(model, ["cat", ":-)"])
    assert model.training


def test_accuracy_and_confusion_are_those_of_the_predictions(tasks):
    task = tasks.read("sentiment")
    model = tasks.model(task)
    corpus = tasks.read("sentiment")
    said = [task.predict(model, [text])[0]["label"] for text, _ in corpus._shown]
    truth = [label for _, label in corpus._shown]
    scores = score(task, model, "valid", batch_size=5, device=CPU)
    assert scores.results()["accuracy"] == np.mean([a == b for a, b in zip(said, truth, strict=True)])
    expected = [[sum((t, s) == (row, col) for t, s in zip(truth, said, strict=True)) for col in ("neg", "pos")]
                for row in ("neg", "pos")]  # fmt: skip
    assert scores.details() == {"labels": ["neg", "pos"], "confusion": expected}


def test_more_than_two_classes(own, tasks):
    rows = [(f"{label} word", label) for label in ("red", "green", "blue") for _ in range(4)]
    task = own(rows, valid=[("red", "red")], test=[("blue", "blue")], min_count=1)
    task.read_corpus()
    assert task.label_names == ["blue", "green", "red"]
    model = tasks.model(task)
    assert model.head.out_features == 3
    assert list(task.predict(model, ["red"])[0]["probabilities"]) == ["blue", "green", "red"]


def test_hits_are_right_predictions(tasks):
    task = tasks.read("sentiment")
    window = task.train_windows(0)[0]
    right = torch.nn.functional.one_hot(window.targets, 2).float()
    assert task.hits(right, window) == 8
    assert task.hits(1 - right, window) == 0
    assert task.measures(0.5, 0.75) == {"accuracy": 0.75}


def test_scores_sum_the_loss_over_texts(tasks):
    task = tasks.read("sentiment")
    scores = ClassScores(["neg", "pos"])
    windows = task.score_windows("valid", 7)
    for index in range(len(windows)):
        logits = torch.zeros(len(windows[index].targets), 2)
        scores.add(logits, windows[index], task.nats(torch.nn.Identity(), logits, windows[index]))
    assert scores.results()["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert scores.classes.count == task.corpus["valid_texts"]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_text_without_a_word_is_found_when_the_corpus_is_read(own, split):
    rows = {"train": [*ROWS, (":-)", "pos")], "valid": [(":-)", "pos")], "test": [("ok", "pos"), (":-)", "neg")]}
    with pytest.raises(DataError, match=rf"no word to read in ':-\)', a text of {split}; remove it"):
        own(**{split: rows[split]}).read_corpus()


def test_labels_are_kept_with_the_run(tasks):
    task = tasks.read("sentiment")
    restored = tasks.new("sentiment", corpus="/gone")
    restored.restore(task.dump())
    model = tasks.model(task)
    assert restored.label_names == ["neg", "pos"]
    assert restored.predict(model, ["the cat"]) == task.predict(model, ["the cat"])


@pytest.mark.parametrize("labels", [None, "neg,pos", [], ["one"], ["neg", 1]])
def test_labels_that_are_none_are_refused(tasks, labels):
    content = {**tasks.read("sentiment").dump(), "labels": labels}
    with pytest.raises(CheckpointError, match=r"vocabulary\.json needs a list of two or more labels, got "):
        tasks.new("sentiment").restore(content)


def test_a_corpus_with_other_labels_than_the_runs_is_refused(own, tasks):
    task = own([(text, f"{label}itive") for text, label in ROWS], valid=[("x", "positive")], test=[("y", "negitive")])
    task.restore(tasks.read("sentiment").dump())
    with pytest.raises(
        DataError, match=r"has labels \('negitive', 'positive'\), the run was trained on \['neg', 'pos'\]"
    ):
        task.read_corpus()


def test_samples_are_held_out_texts_with_what_the_model_says(tasks):
    task = tasks.read("sentiment")
    model = tasks.model(task)
    samples = task.samples(model, 3, 4, seed=1)
    assert samples == task.samples(model, 3, 4, seed=1)
    assert samples != task.samples(model, 3, 4, seed=2)
    texts = {text[:20]: label for text, label in task._shown}
    for sample in samples:
        head, text = sample.split("\n")
        assert head.endswith(f"is {texts[text]}")
        assert head.startswith(("says neg (", "says pos ("))
    assert len(task.samples(model, 10_000, 4, seed=1)) == task.corpus["valid_texts"]


def test_a_restored_task_without_its_corpus_has_no_samples(tasks):
    task = tasks.new("sentiment", corpus="/gone")
    task.restore(tasks.read("sentiment").dump())
    assert task.samples(tasks.model(task), 3, 4, seed=1) == []


def test_text_and_label_columns_are_chosen_by_name(tmp_path, tasks):
    draw = random.Random(0)
    rows = [f"{draw.choice('abcdef')} {number} word,{draw.choice(['x', 'y'])}\n" for number in range(60)]
    (tmp_path / "own.csv").write_text("review,stars\n" + "".join(rows))
    task = tasks.read("sentiment", corpus=str(tmp_path / "own.csv"), text_column="review", label_column="stars")
    assert task.label_names == ["x", "y"]
