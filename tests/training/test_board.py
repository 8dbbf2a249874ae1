"""What a run's event files and folder hold for TensorBoard's dashboards."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

ALL = {"compressedHistograms": 1, "scalars": 0, "images": 0, "audio": 0, "histograms": 0, "tensors": 0}


@pytest.fixture
def read(lab, tmp_path):
    """Train 4 steps of a task with two evaluations; give what was logged, and the folder."""

    def run(task, **changes):
        settings = {"max_steps": 4, "eval_every_steps": 2, "num_samples": 1, "sample_len": 60}
        settings |= {"histograms": True, "figures": True, **changes}
        lab.fit(tmp_path / task, lab.config(task, **settings))
        events = EventAccumulator(str(tmp_path / task), ALL)
        events.Reload()
        return events, tmp_path / task

    return run


def tags(events):
    names = events.Tags()
    return {kind: set(names[kind]) for kind in ("images", "audio", "histograms", "tensors", "scalars")}


def test_a_classifier_shows_its_mistakes_on_both_splits(read):
    events, folder = read("sentiment")
    found = tags(events)
    for split, times in (("valid", 2), ("test", 1)):
        assert {f"{split}/confusion", f"{split}/reliability"} <= found["images"]
        assert len(events.Images(f"{split}/confusion")) == times
        assert f"{split}/precision_recall/pos" in found["tensors"]
    assert "valid/precision_recall/neg" not in found["tensors"], "of two classes one curve says all"
    assert events.PluginTagToContent("pr_curves").keys() == {f"{s}/precision_recall/pos" for s in ("valid", "test")}
    assert "gates/layer_0" in found["images"]
    assert (folder / "projector_config.pbtxt").is_file()
    assert found["audio"] == set()


def test_gates_weights_and_gradients_are_shown_by_layer(read):
    events, _ = read("next_word", num_layers=2)
    histograms = tags(events)["histograms"]
    assert {
        f"{kind}/recurrent.weight_hh_l{layer}" for kind in ("weights", "gradients") for layer in (0, 1)
    } <= histograms
    assert {f"gates/layer_{layer}/forget" for layer in (0, 1)} <= histograms
    assert {"saturation/layer_1/forget_left", "saturation/layer_1/forget_right"} <= tags(events)["scalars"]
    assert len(events.Histograms("gates/layer_0/forget")) == 2
    count = events.Histograms("gates/layer_0/forget")[0].histogram_value.num
    assert count <= 8 * 64 * 6, "at most 64 steps of 8 rows are read"


def test_one_chart_holds_train_and_valid(read):
    events, _ = read("music")
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(tensor.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    assert charts["loss, nats: train and valid"] == ["^train/loss$", "^valid/loss$"]
    assert charts["bits_per_char: train and valid"] == ["^train/bits_per_char$", "^valid/bits_per_char$"]
    assert {"train/loss", "valid/loss", "train/bits_per_char", "valid/bits_per_char"} <= tags(events)["scalars"]


def test_a_tune_that_has_notes_is_heard(read, monkeypatch):
    from rnnlab.tasks.music import Music

    written = iter(["X:1\nM:4/4\nL:1/8\nK:D\nA2 B2 @ c2 d2 | A8 |]\n", "no tune"])
    monkeypatch.setattr(Music, "samples", lambda *arguments: [next(written)])
    events, _ = read("music")
    assert tags(events)["audio"] == {"samples/0"}
    (sound,) = events.Audio("samples/0")
    assert (sound.step, sound.sample_rate, sound.content_type) == (2, 16_000, "audio/wav")
    assert sound.length_frames == int((4 + 0.16) * 16_000)  # two bars of 4/4 at 120, and what rings on
    assert [sample.step for sample in events.Tensors("samples/0/text_summary")] == [2, 4]


def test_it_can_be_switched_off(read):
    events, folder = read("sentiment", histograms=False, figures=False, num_samples=0)
    found = tags(events)
    assert found["images"] | found["audio"] | found["histograms"] == set()
    assert not [tag for tag in found["tensors"] if "precision" in tag or "samples" in tag]
    assert not (folder / "projector_config.pbtxt").exists()


def test_settings_and_final_metrics_stand_in_the_table_of_settings(read):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events, _ = read("next_word", seed=3)
    found = {
        tag: HParamsPluginData.FromString(content) for tag, content in events.PluginTagToContent("hparams").items()
    }
    experiment = found["_hparams_/experiment"].experiment
    assert [info.name.tag for info in experiment.metric_infos] == [
        "valid/perplexity",
        "test/perplexity",
        "valid/loss",
        "test/loss",
    ]
    shown = found["_hparams_/session_start_info"].session_start_info.hparams
    assert shown["model.cell"].string_value == "lstm"
    assert shown["seed"].number_value == 3
    assert "trainer.figures" not in shown
    assert found["_hparams_/session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS
    assert events.Scalars("test/perplexity")[-1].value > 1


def test_a_large_tensor_is_shown_by_entries_spread_over_it(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("rnnlab.training.board._MAX_ENTRIES", 10)
    lab.fit(tmp_path / "run", lab.config(max_steps=1, num_samples=0, histograms=True))
    events = EventAccumulator(str(tmp_path / "run"), ALL)
    events.Reload()
    assert 5 <= events.Histograms("weights/recurrent.weight_hh_l0")[0].histogram_value.num <= 10
