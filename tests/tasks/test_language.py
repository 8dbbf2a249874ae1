import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from rnnlab.config import Backend, Decoder, Nonlinearity
from rnnlab.data.windows import Window
from rnnlab.errors import DivergedError
from rnnlab.tasks.language import LanguageScores


@pytest.fixture(params=["next_word", "music"])
def task(request, tasks):
    return tasks.read(request.param)


def window_of(targets, lengths=None):
    targets = torch.tensor(targets)
    return Window(
        inputs=torch.zeros_like(targets),
        targets=targets,
        lengths=None if lengths is None else torch.tensor(lengths),
        starts=torch.zeros(targets.shape[1], dtype=torch.bool),
    )


def test_nats_are_summed_over_valid_targets_alone(task):
    logits = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    window = window_of([[1, 2], [3, 0], [4, 0]], [3, 1])
    shares = logits.log_softmax(-1)
    expected = -(shares[0, 0, 1] + shares[1, 0, 3] + shares[2, 0, 4] + shares[0, 1, 2])
    torch.testing.assert_close(task.nats(nn.Identity(), logits, window), expected)
    assert window.num_targets == 4


def test_nats_count_every_target_when_no_row_is_short(task):
    window = window_of([[1, 2], [3, 0]])
    assert float(task.nats(nn.Identity(), torch.zeros(2, 2, 8), window)) == pytest.approx(4 * math.log(8), rel=1e-6)


def test_a_language_model_is_judged_without_its_logits_and_like_by_them(task, tasks):
    model = tasks.model(task)
    window = task.train_windows(0)[0]
    shapes = []
    model.decode = lambda h: shapes.append(h.shape)
    outputs, _ = task.forward(model, window, None)
    assert outputs.shape == (*window.inputs.shape, 6)
    nats = task.nats(model, outputs, window)
    assert not shapes
    gradients = torch.autograd.grad(nats, [*model.parameters()])
    del model.decode
    logits, _ = model(window.inputs, None, window.lengths)
    valid = torch.arange(len(logits))[:, None] < (len(logits) if window.lengths is None else window.lengths)
    exact = cross_entropy(
        logits[valid.expand(window.targets.shape)].double(),
        window.targets[valid.expand(window.targets.shape)],
        reduction="sum",
    )
    # Float32's roundings, 6e-8 each, of sums over some hundred targets.
    torch.testing.assert_close(nats.double(), exact, rtol=1e-6, atol=0.0)
    for got, wanted in zip(gradients, torch.autograd.grad(exact, [*model.parameters()]), strict=True):
        assert float((got - wanted).norm()) <= 2e-6 * float(wanted.norm())


def test_padding_has_no_gradient_and_may_hold_any_id(task):
    logits = torch.zeros(2, 2, 5, requires_grad=True)
    task.nats(nn.Identity(), logits, window_of([[1, 2], [3, 4]], [2, 1])).backward()
    assert logits.grad[1, 1].tolist() == [0] * 5
    assert logits.grad[1, 0].abs().sum() > 0


@pytest.mark.parametrize("backend", ["reference", "cpu", "torch"])
def test_a_relu_that_overflows_in_the_padding_leaves_losses_and_gradients_as_they_are(tasks, task, backend):
    """Padding is id 0: its vector is huge, and a factor of 2 a step takes it beyond float32 in the 90 steps left."""
    gradients = []
    for padding in (1e12, 0.0):
        model = tasks.model(task, "rnn", nonlinearity=Nonlinearity.relu, backend=Backend(backend))
        weights = model.recurrent.layer_weights(0, 0)
        with torch.no_grad():
            weights.weight_hh.copy_(2 * torch.eye(6))
            weights.weight_ih.abs_()
            model.embedding.weight[0] = padding
        inputs = torch.zeros(100, 2, dtype=torch.int64)
        inputs[:10] = 1
        window = replace(window_of(inputs.tolist(), [10, 7]), inputs=inputs)
        outputs, _ = task.forward(model, window, None)
        task.nats(model, outputs, window).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert not model.recurrent(torch.full((100, 1, 5), 1e12))[0].isfinite().all(), "the padding is meant to overflow"
    assert all(gradient.isfinite().all() for gradient in gradients[0])
    # Equal to the last bit: no number of the padding takes part.
    assert all(map(torch.equal, *gradients))


def test_nats_are_computed_in_float32_whatever_the_logits_are(task):
    assert task.nats(nn.Identity(), torch.zeros(1, 1, 5, dtype=torch.bfloat16), window_of([[1]])).dtype == torch.float32


@pytest.mark.parametrize(("measure", "value"), [("perplexity", 8.0), ("bits_per_char", 3.0)])
def test_scores_hold_the_loss_the_measure_and_the_count(measure, value):
    scores = LanguageScores(measure)
    scores.add(torch.empty(0), window_of([[1, 2], [3, 0]], [2, 1]), torch.tensor(3 * math.log(8)))
    assert scores.results() == pytest.approx({"loss": math.log(8), measure: value}, rel=1e-6)
    assert scores.details() == {"targets": 3}


def generate(tasks, task, prompt="", **arguments):
    defaults = {"count": 2, "length": 30, "temperature": 1.0, "top_k": None, "top_p": None, "seed": 5}
    return task.generate(tasks.model(task), prompt, **{**defaults, **arguments})


def test_the_same_seed_gives_the_same_texts_and_another_other_ones(task, tasks):
    texts = generate(tasks, task)
    torch.rand(3)
    assert generate(tasks, task) == texts
    assert generate(tasks, task, seed=6) != texts
    assert len(set(texts)) == 2


def test_unknown_is_never_generated(task, tasks):
    model = tasks.model(task)
    with torch.no_grad():
        model.decoder_bias[task.vocabulary.unk_id] = 50  # nothing else would ever be drawn
    texts = task.generate(model, "", count=3, length=40, temperature=1.0, top_k=None, top_p=None, seed=0)
    assert not any("<unk>" in text for text in texts)


def test_more_tokens_than_the_vocabulary_has_are_all_of_them(task, tasks):
    assert generate(tasks, task, top_k=10_000) == generate(tasks, task)


def test_a_bad_number_is_refused(task, tasks):
    with pytest.raises(ValueError, match=r"top_p must be above 0 and at most 1, got 1\.5"):
        generate(tasks, task, top_p=1.5)


def test_generation_and_prediction_keep_the_models_mode(task, tasks):
    model = tasks.model(task, dropout=0.5)
    for training in (True, False):
        model.train(training)
        task.samples(model, 1, 5, seed=0)
        first = task.predict_next(model, "", top=3)
        assert task.predict_next(model, "", top=3) == first
        assert model.training is training


def test_the_likeliest_next_tokens_come_first_with_their_shares(task, tasks):
    model = tasks.model(task)
    everything = task.predict_next(model, "", top=10**6)
    shares = [entry["probability"] for entry in everything["next"]]
    assert len(shares) == len(task.vocabulary)
    assert sum(shares) == pytest.approx(1, abs=1e-12)  # a softmax in float64
    assert shares == sorted(shares, reverse=True)
    assert task.predict_next(model, "", top=2)["next"] == everything["next"][:2]
    assert {entry["token"] for entry in everything["next"]} == set(task.vocabulary)


def test_prediction_is_what_the_model_says_after_the_prompt(task, tasks):
    model = tasks.model(task).eval()
    prompt = "the cat" if task.name == "next_word" else "X:1"
    ids = task.encode_prompt(prompt)
    shares = model(torch.tensor(ids)[:, None])[0][-1, 0].detach().softmax(-1)
    likeliest = task.predict_next(model, prompt, top=1)
    assert likeliest["text"] == prompt
    assert likeliest["tokens"] == len(ids) - 1  # what stands before every text is none of its tokens
    assert likeliest["next"][0]["token"] == task.vocabulary.decode([int(shares.argmax())])[0]
    assert likeliest["next"][0]["probability"] == pytest.approx(float(shares.max()), rel=1e-5)


def test_a_model_that_computes_no_numbers_predicts_nothing(task, tasks):
    model = tasks.model(task)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(DivergedError, match="the model's logits are nan or infinite"):
        task.predict_next(model, "", top=2)


def test_hits_are_not_counted(task):
    assert task.hits(torch.zeros(1, 1, 5), window_of([[0]])) == 0


def test_ids_are_ordered_by_frequency_after_the_specials_as_an_adaptive_decoder_wants(task):
    windows = task.train_windows(0)
    counts = torch.zeros(len(task.vocabulary), dtype=torch.int64)
    for index in range(len(windows)):
        window = windows[index]
        valid = torch.arange(len(window.inputs))[:, None] < (
            len(window.inputs) if window.lengths is None else window.lengths
        )
        counts += window.targets[valid.expand_as(window.targets)].bincount(minlength=len(counts))
    # Windows leave a target or two out, so that neighbours of almost equal counts may stand the other way.
    assert (counts[2:].diff() <= 2).all()
    assert counts[2] > counts[-1] + 10


def test_an_adaptive_decoder_generates_and_predicts(task, tasks):
    model = tasks.model(task, decoder=Decoder.adaptive, cutoffs=[5])
    assert generate_with(task, model) == generate_with(task, model)
    likely = task.predict_next(model, "", top=10**6)["next"]
    # A softmax of float32's log-probabilities.
    assert sum(entry["probability"] for entry in likely) == pytest.approx(1, abs=1e-6)
    outputs, _ = task.forward(model, task.train_windows(0)[0], None)
    assert outputs.shape[-1] == 6


def generate_with(task, model):
    return task.generate(model, "", count=2, length=30, temperature=1.0, top_k=None, top_p=None, seed=5)
