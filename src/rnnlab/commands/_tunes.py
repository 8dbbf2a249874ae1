"""What generated tunes are worth: does a real ABC reader take them, do their bars fill, how much of them is copied."""

from __future__ import annotations

from statistics import mean, median

from torch import nn
from tqdm import tqdm

from rnnlab.data.abc import tune_body
from rnnlab.errors import ConfigError
from rnnlab.evaluation.copying import TrainingText
from rnnlab.generation.abc import accepted_by_music21, check_tune
from rnnlab.tasks.music import Music

MAX_CHARS = 2000
BETWEEN_TUNES = "\0"  # no tune holds it, so no span reaches from one into the next


def judge_tunes(task: Music, model: nn.Module, *, count: int, seed: int) -> dict[str, float]:
    """Generate tunes at temperature 1 and judge them.

    Args:
        task: with its corpus read: copies are looked for in the tunes it trained on.
        model: trained.
        count: how many tunes.
        seed: of the draws.

    Returns:
        accepted_share: of the tunes, those that music21 reads as music with a key.
        well_formed_share: of the tunes, those that are well formed and fill at least nine bars in ten.
        filled_bar_share: of all bars of readable tunes, those that fill the metre.
        longest_copy_median, longest_copy_max: characters of the longest span of a tune's body that stands in the
            training tunes.

    Raises:
        ConfigError: music21 is not installed.
    """
    tunes = task.samples(model, count, MAX_CHARS, seed)
    try:
        accepted = [accepted_by_music21(tune) for tune in tqdm(tunes, desc="music21 reads", disable=None)]
    except ModuleNotFoundError:
        raise ConfigError('tunes needs music21 to read them: pip install "rnnlab[corpora]"') from None
    checks = [check_tune(tune) for tune in tunes]
    training = TrainingText(BETWEEN_TUNES.join(tune_body(tune) for tune in task.training_tunes))
    copies = [training.longest_copied_span(tune_body(tune)).length for tune in tunes]
    bars = sum(check.num_bars for check in checks)
    return {
        "tunes/accepted_share": mean(accepted),
        "tunes/well_formed_share": mean(check.is_accepted for check in checks),
        "tunes/filled_bar_share": sum(check.num_filled for check in checks) / bars if bars else 0.0,
        "tunes/longest_copy_median": float(median(copies)),
        "tunes/longest_copy_max": float(max(copies)),
    }
