import pytest
import torch
from torch import nn
from torch.nn import functional

from rnnlab.cells import GRU, LSTM, RNN
from rnnlab.models import Classifier, LanguageModel
from rnnlab.models.layers import OneHot, build_embedding, build_recurrent, start_uniformly


def test_one_hot_vectors_have_a_one_at_the_tokens_place():
    inputs = torch.tensor([[0, 3], [2, 2]])
    vectors = OneHot(4)(inputs)
    assert vectors.shape == (2, 2, 4)
    assert vectors.dtype == torch.float32
    assert vectors.equal(functional.one_hot(inputs, 4).float())


def test_one_hot_vectors_follow_the_model_to_another_dtype():
    assert OneHot(3).double()(torch.tensor([1])).dtype == torch.float64


def test_one_hot_has_nothing_to_learn_or_to_save():
    layer = OneHot(4)
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    assert layer.embedding_dim == 4


def test_one_hot_refuses_an_id_outside_the_vocabulary():
    with pytest.raises(RuntimeError, match="index 4 is out of bounds"):
        OneHot(4)(torch.tensor([4]))


def test_learned_vectors_start_within_a_tenth():
    torch.manual_seed(0)
    weight = build_embedding("learned", 500, 20).weight.detach()
    assert weight.shape == (500, 20)
    assert weight.abs().max() <= 0.1
    # A uniform distribution's standard deviation is its half width over sqrt 3; 10,000 draws are within 2 % of it.
    assert weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)


def test_an_unknown_embedding_is_refused():
    with pytest.raises(ValueError, match="embedding must be learned or one_hot, got 'word2vec'"):
        build_embedding("word2vec", 5, 3)


@pytest.mark.parametrize(("cell", "kind"), [("rnn", RNN), ("lstm", LSTM), ("gru", GRU)])
def test_a_cell_is_built_by_its_name_with_the_sizes_asked_for(cell, kind):
    stack = build_recurrent(7, cell=cell, hidden_size=5, num_layers=2, bidirectional=True, dropout=0.3)
    assert isinstance(stack, kind)
    sizes = (stack.input_size, stack.hidden_size, stack.num_layers, stack.bidirectional, stack.dropout)
    assert sizes == (7, 5, 2, True, 0.3)


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="cell must be rnn, lstm or gru, got 'lstn'"):
        build_recurrent(7, cell="lstn", hidden_size=5)


def test_dropout_between_layers_is_off_without_a_between():
    assert (
        build_recurrent(3, cell="gru", hidden_size=4, num_layers=1, dropout=0.5).dropout == 0.0
    )  # and warns of nothing


def test_settings_of_one_cell_reach_it():
    assert build_recurrent(3, cell="rnn", hidden_size=4, nonlinearity="relu").nonlinearity == "relu"
    assert build_recurrent(3, cell="rnn", hidden_size=4, initialisation="identity").weight_hh_l0.equal(torch.eye(4))
    assert build_recurrent(3, cell="lstm", hidden_size=4, forget_gate_bias=2.0).bias_ih_l0[4:8].tolist() == [2.0] * 4


def test_a_bad_argument_is_refused_by_the_cell():
    with pytest.raises(ValueError, match="hidden_size must be at least 1, got 0"):
        build_recurrent(3, cell="gru", hidden_size=0)
    with pytest.raises(ValueError, match="initialisation 'uniform' needs init_range"):
        build_recurrent(3, cell="gru", hidden_size=4, initialisation="uniform")


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_extras_of_the_cells_reach_them(cell):
    extras = {"recurrent_dropout": 0.1, "weight_drop": 0.2, "zoneout": 0.3, "layer_norm": True}
    extras |= {"clip_state_grad": 2.0, "recompute": True}
    stack = build_recurrent(3, cell=cell, hidden_size=4, **extras)
    assert stack.extras._asdict() == extras
    for model in (LanguageModel(5, cell=cell, **extras), Classifier(5, 2, cell=cell, **extras)):
        assert model.recurrent.extras._asdict() == extras


def test_a_misspelt_argument_of_a_model_is_refused_by_its_cell():
    with pytest.raises(TypeError, match="unexpected keyword argument 'zonout'"):
        LanguageModel(5, zonout=0.1)


def test_a_uniform_start_leaves_layer_norm_where_it_starts():
    model = LanguageModel(5, layer_norm=True, initialisation="uniform", init_range=0.05)
    for name, parameter in model.recurrent.named_parameters():
        if name.startswith("norm_"):
            assert parameter.unique().tolist() == [0.0 if "bias" in name else 1.0], name
        else:
            assert 0 < parameter.abs().max() <= 0.05, name


def test_a_uniform_start_draws_every_parameter_and_keeps_the_forget_gates_bias():
    torch.manual_seed(0)
    lstm = LSTM(30, 20, initialisation="uniform", init_range=0.05, forget_gate_bias=3.0)
    model = nn.ModuleDict({"recurrent": lstm, "head": nn.Linear(20, 9)})
    start_uniformly(model, lstm)
    forget = slice(20, 40)
    bias_ih, bias_hh = model["recurrent"].bias_ih_l0, model["recurrent"].bias_hh_l0
    assert bias_ih[forget].tolist() == [3.0] * 20
    assert bias_hh[forget].tolist() == [0.0] * 20
    with torch.no_grad():
        bias_ih[forget] = 0
    for name, parameter in model.named_parameters():
        assert 0 < parameter.abs().max() <= 0.05, name
