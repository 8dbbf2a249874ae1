"""What is out of range or contradicts itself in a command's settings: everything at once, before anything is built.

What depends on the machine or the data (a CUDA device, a corpus too short for its windows) is checked where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rnnlab.config import (
    Averaging,
    Cell,
    CosineConfig,
    Decoder,
    Device,
    Embedding,
    ExploreConfig,
    Initialisation,
    ModelConfig,
    Nonlinearity,
    Pooling,
    PredictConfig,
    RMSpropConfig,
    SentimentConfig,
    SGDConfig,
    TrainConfig,
    TrainerConfig,
)
from rnnlab.schema import walk
from rnnlab.wording import listed

LANGUAGE_MODELS = ("next_word", "music")
OF_NUMBERS = ("adding", "ball")  # real numbers in, real numbers out
SYNTHETIC = (*OF_NUMBERS, "copy")


def problems(config: Any) -> list[str]:
    """Return one line for each setting that is wrong.

    Args:
        config: A `TrainConfig`, or the settings of another composed verb.

    Returns:
        What is wrong; empty if nothing is.
    """
    found = [f"{setting.key} {wrong}" for setting, value in walk(config) if (wrong := setting.problem(value))]
    match config:
        case TrainConfig():
            # A value out of range is told once, and not held against others as well.
            out = [setting.key for setting, value in walk(config) if "." in setting.key and setting.problem(value)]
            found += (line for line in _train_contradictions(config) if not any(key in line for key in out))
        case PredictConfig() if (config.text is None) == (config.file is None):
            given = "got both" if config.text is not None else "got neither"
            found.append(f"predict reads text=... or file=... (- is standard input), {given}; give one")
        case ExploreConfig() if config.text is not None and config.file is not None:
            found.append("explore reads text=... or file=..., got both; give one")
    return found


def _train_contradictions(config: TrainConfig) -> Iterator[str]:
    """Yield the contradictions between the sections."""
    task = config.task.name
    yield from _cell_contradictions(config.model)
    yield from _task_contradictions(config.model, config.trainer, task)
    yield from _trainer_contradictions(config.trainer)
    if isinstance(config.scheduler, CosineConfig):
        yield from _cosine_contradictions(config.scheduler, config.trainer)
    yield from _graph_contradictions(config)
    if isinstance(config.task, SentimentConfig) and config.task.text_column == config.task.label_column:
        yield f"task.text_column and task.label_column must differ, got {config.task.text_column!r} for both"
    optimizer = config.optimizer
    if isinstance(optimizer, SGDConfig) and optimizer.nesterov and optimizer.momentum == 0:
        yield "optimizer.nesterov=true needs optimizer.momentum above 0, got 0.0; try optimizer.momentum=0.9"
    if config.resume is None and config.resume_allow is not None:
        yield f"resume_allow={config.resume_allow} is of resume=RUN, got none; leave it out"
    if config.resume is not None and config.name is not None:
        yield f"resume={config.resume} goes on in that run's folder, so name={config.name} has no use; leave name out"


def _graph_contradictions(config: TrainConfig) -> Iterator[str]:
    """Yield what no CUDA graph of a step can hold, for it reads numbers back or is not on one CUDA device."""
    trainer, model = config.trainer, config.model
    if not trainer.cuda_graph:
        return
    if trainer.devices > 1:
        yield f"trainer.cuda_graph=true is for one device, got trainer.devices={trainer.devices}; set one of them back"
    if trainer.device in (Device.cpu, Device.mps):
        yield f"trainer.cuda_graph=true is for trainer.device=cuda, got {trainer.device.value}; set one of them"
    needs = {
        f"optimizer={config.optimizer.name}": isinstance(config.optimizer, RMSpropConfig),
        "model.decoder=adaptive": model.decoder is Decoder.adaptive,
        f"model.sampled_words={model.sampled_words}": model.sampled_words is not None,
    }
    for name in (name for name, is_so in needs.items() if is_so):
        yield f"trainer.cuda_graph=true cannot go with {name}, whose step reads numbers back; set one of them back"


def _cosine_contradictions(scheduler: CosineConfig, trainer: TrainerConfig) -> Iterator[str]:
    """Yield an end that is not known, or that comes before the warm-up's."""
    if trainer.max_epochs is None and trainer.max_steps is None:
        yield "scheduler=cosine needs to know the end; set trainer.max_epochs or trainer.max_steps"
    warmup, steps = scheduler.warmup_steps, trainer.max_steps
    if steps is not None and warmup >= steps:
        yield f"scheduler.warmup_steps must be below trainer.max_steps={steps}, got {warmup}; try {steps // 10}"


def _cell_contradictions(model: ModelConfig) -> Iterator[str]:
    """Yield settings of a cell that is not the chosen one, and of an initialisation that is not."""
    cell = model.cell.value
    if model.cell is not Cell.rnn and model.nonlinearity is not Nonlinearity.tanh:
        yield f"model.nonlinearity={model.nonlinearity.value} is of cell=rnn, got model.cell={cell}; leave it out"
    if model.cell is not Cell.rnn and model.initialisation is Initialisation.identity:
        yield f"model.initialisation=identity is of cell=rnn, got model.cell={cell}; try orthogonal"
    if model.cell is not Cell.lstm and model.forget_gate_bias is not None:
        yield f"model.forget_gate_bias is of cell=lstm, got model.cell={cell}; leave it out"
    if model.cell is not Cell.lstm and model.zoneout_cell is not None:
        yield f"model.zoneout_cell is of cell=lstm, got model.cell={cell}; leave it out"
    uniform = model.initialisation is Initialisation.uniform
    if uniform and model.init_range is None:
        yield "model.initialisation=uniform needs model.init_range, got null; try model.init_range=0.05"
    if not uniform and model.init_range is not None:
        name = model.initialisation.value
        yield f"model.init_range is of initialisation=uniform, got model.initialisation={name}; leave one of them out"


def _task_contradictions(model: ModelConfig, trainer: TrainerConfig, task: str) -> Iterator[str]:
    """Yield what a task of ours cannot use; of those that packages bring it is not known."""
    language_model, classifier = task in LANGUAGE_MODELS, task == "sentiment"
    if language_model and model.bidirectional:
        yield f"model.bidirectional=true cannot go with task={task}: it would see the word that it predicts; set false"
    if task in SYNTHETIC and model.bidirectional:
        yield f"model.bidirectional=true is for task=sentiment; task={task} reads in one direction; set false"
    if (language_model or task in SYNTHETIC) and model.pooling is not Pooling.mean:
        yield f"model.pooling={model.pooling.value} is for classifiers, got task={task}; leave it out"
    if model.tie_weights:
        if classifier or task in OF_NUMBERS:
            yield f"model.tie_weights=true is for language models, got task={task}; set false"
        if model.embedding is Embedding.one_hot:
            yield "model.tie_weights=true needs model.embedding=learned, got one_hot: there is no matrix to share"
        elif model.embedding_size != model.hidden_size:
            sizes = f"got {model.embedding_size} and {model.hidden_size}"
            yield f"model.tie_weights=true needs model.embedding_size equal to model.hidden_size, {sizes}"
    yield from _decoder_contradictions(model, task)
    if task in OF_NUMBERS and model.embedding is not Embedding.learned:
        yield f"model.embedding=one_hot is for tokens, got task={task}, whose inputs are numbers; leave it out"
    if task == "adding" and trainer.bptt_len is not None:
        yield f"trainer.bptt_len={trainer.bptt_len} cannot go with task=adding: its one loss comes at the end; set null"
    if classifier and trainer.bptt_len is not None:
        yield f"trainer.bptt_len={trainer.bptt_len} cannot go with task=sentiment: each text is read whole; set null"
    if task == "next_word" and trainer.bptt_len is None:
        yield "trainer.bptt_len must be given with task=next_word, got null: its text never ends; try 35"
    if trainer.auto_bptt_len and (classifier or task == "adding"):
        yield f"trainer.auto_bptt_len=true cannot go with task={task}: each sequence is read whole; set false"
    elif trainer.auto_bptt_len and trainer.bptt_len is None:
        yield "trainer.auto_bptt_len=true needs trainer.bptt_len for its warm-up, got null; try 32"
    if trainer.random_bptt and task in ("music", "sentiment", *SYNTHETIC):
        yield f"trainer.random_bptt=true is for task=next_word, got task={task}; set false"


def _decoder_contradictions(model: ModelConfig, task: str) -> Iterator[str]:
    """Yield what a decoder cannot use; how far cutoffs may go depends on the vocabulary."""
    cutoffs = model.cutoffs
    if (words := model.sampled_words) is not None:
        if model.decoder is not Decoder.full:
            yield f"model.sampled_words={words} is of model.decoder=full, got adaptive; leave one of them out"
        if task in ("music", "sentiment", *SYNTHETIC):
            yield f"model.sampled_words={words} is for task=next_word, got task={task}; leave it out"
    if model.decoder is Decoder.full:
        if cutoffs is not None:
            yield f"model.cutoffs is of model.decoder=adaptive, got model.decoder=full; leave it out, not {cutoffs}"
        return
    if task in ("sentiment", *SYNTHETIC):
        yield f"model.decoder=adaptive is for language models, got task={task}; leave it out"
    if model.tie_weights:
        yield (
            "model.tie_weights=true cannot go with model.decoder=adaptive, whose matrices are narrower than the "
            "embedding's; set one of them back"
        )
    if cutoffs is not None and (not cutoffs or cutoffs != sorted(set(cutoffs)) or cutoffs[0] < 1):
        yield f"model.cutoffs must be rising whole numbers from 1 on, got {cutoffs}; try [2000,10000]"


def _trainer_contradictions(trainer: TrainerConfig) -> Iterator[str]:
    """Yield contradictions within the trainer's settings."""
    rows, devices = trainer.batch_size, trainer.devices
    if devices > 1 and rows % devices:
        near = listed([str(size) for size in (rows - rows % devices, rows - rows % devices + devices) if size], "or")
        yield f"trainer.batch_size={rows} cannot be divided among trainer.devices={devices}; try {near}"
    if devices > 1 and trainer.device is Device.mps:
        yield f"trainer.devices={devices} is for trainer.device=cpu or cuda, got mps; set one of them"
    if trainer.max_epochs is None and trainer.max_steps is None and trainer.max_minutes is None:
        yield "training would never end: set trainer.max_epochs, trainer.max_steps or trainer.max_minutes"
    if trainer.averaging is Averaging.none and trainer.averaging_start_epoch > 0:
        yield (
            f"trainer.averaging_start_epoch={trainer.averaging_start_epoch} has no use with trainer.averaging=none; "
            "choose ema or mean, or leave it out"
        )
