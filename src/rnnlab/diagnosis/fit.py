"""Illnesses of what is learned, and of what it costs. A check returns None, too, where a signal is missing."""

from __future__ import annotations

from rnnlab.diagnosis.findings import Finding, changed
from rnnlab.diagnosis.signals import Signals, is_flat, quarters


def one_class(s: Signals) -> Finding | None:
    """A classifier that says the same of all texts."""
    lr = s.setting("optimizer.lr")
    losses = s.values("train/loss")
    if not s.confusion or lr is None or (losses and s.baseline and losses[-1] < 0.9 * s.baseline):
        return None  # what tells the texts apart in training has another illness
    total = sum(map(sum, s.confusion))
    said = max(map(sum, zip(*s.confusion, strict=True)))
    true = max(map(sum, s.confusion))
    if total == 0 or said < 0.99 * total or true > 0.95 * total:
        return None
    pools_last = s.setting("model.pooling") == "last"
    shares = [f"{100 * count / total:.0f} %" for count in (said, true)]
    return Finding(
        f"{shares[0]} of the test texts are given one class, which {shares[1]} have at most",
        "it has learned how frequent the classes are, and nothing of the texts",
        ("model.pooling=mean",) if pools_last else (changed("optimizer.lr", 3 * lr),),
    )


def baseline_not_beaten(s: Signals) -> Finding | None:
    """A loss that one has without looking at the input."""
    lr = s.setting("optimizer.lr")
    if s.has_learned is not False or lr is None:
        return None
    losses = s.values("train/loss")
    by_heart = bool(losses) and losses[-1] < 0.8 * (s.baseline or 0)
    why = "nothing of the input is used yet"
    overrides = (changed("optimizer.lr", 3 * lr), *_longer(s))
    if by_heart:
        why = (
            f"the training loss is {losses[-1]:.4g}: it learns by heart what does not hold for other data; look "
            "whether the splits are alike and the labels right"
        )
        overrides = _milder(s)
    return Finding(
        f"the best validation loss is {s.best_loss:.4g}; the best guess that looks at no input has {s.baseline:.4g}",
        why,
        overrides,
    )


def overfitting(s: Signals) -> Finding | None:
    """A validation loss that rises while the training loss falls."""
    valid, train = s.values("valid/loss"), quarters(s.values("train/loss"))
    if len(valid) < 3 or not train:
        return None
    best = min(valid)
    if valid[-1] < 1.1 * best or train[-1] > 0.8 * valid[-1] or train[-1] > train[1]:
        return None
    return Finding(
        f"the validation loss was {best:.4g} at evaluation {valid.index(best) + 1} of {len(valid)} and ended at "
        f"{valid[-1]:.4g}; the training loss ended at {train[-1]:.4g}",
        "from there on the training data are learned by heart",
        _milder(s),
    )


def _milder(s: Signals) -> tuple[str, ...]:
    """Overrides against learning by heart."""
    dropout, hidden = s.setting("model.dropout") or 0.0, s.setting("model.hidden_size")
    patience = () if s.setting("trainer.patience") else ("trainer.patience=3",)
    if dropout < 0.5:
        return (f"model.dropout={min(0.5, dropout + 0.3):g}", *patience)
    return (*(() if not hidden else (f"model.hidden_size={max(1, hidden // 2)}",)), *patience)


def too_small(s: Signals) -> Finding | None:
    """A model with too few numbers for its data."""
    hidden, count, targets = s.setting("model.hidden_size"), s.num_parameters, s.num_targets
    if not hidden or not count or not targets or not is_flat(s, 0.04) or 20 * count > targets:
        return None
    train, valid = s.values("train/loss")[-1], s.values("valid/loss")[-1]
    if valid > 1.1 * train:
        return None
    overrides = [f"model.hidden_size={4 * hidden}"]
    if s.setting("task.name") not in ("adding", "ball"):
        overrides.append(f"model.embedding_size={4 * (s.setting('model.embedding_size') or hidden)}")
    return Finding(
        f"{count:,} parameters learn from {targets:,} predictions, and the losses hardly fall any more: {train:.4g} "
        f"(training) and {valid:.4g} (validation)",
        "what it cannot tell of the training data it has no room for",
        tuple(overrides),
    )


def too_short(s: Signals) -> Finding | None:
    """A run that ended while it learned."""
    valid = s.values("valid/loss")
    if s.status != "done" or len(valid) < 4 or not _longer(s):
        return None
    before = min(valid[: -max(1, len(valid) // 4)])
    gain = 1 - min(valid) / before if before > 0 else 0.0
    # Of what is left: a loss near zero halves for ever.
    if gain < 0.1 or min(valid) != valid[-1] or before < 0.1 * (s.baseline or 0):
        return None
    return Finding(
        f"the validation loss fell by {100 * gain:.0f} % in the last quarter, to {valid[-1]:.4g}, its lowest",
        "it ended while it learned",
        _longer(s),
    )


def _longer(s: Signals) -> tuple[str, ...]:
    """Twice as long as it was."""
    limits = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_minutes")
    return tuple(f"{key}={2 * value:g}" for key in limits if (value := s.setting(key)))


def padding(s: Signals) -> Finding | None:
    """Steps that are computed for nothing."""
    size = s.setting("trainer.batch_size")
    if s.padding is None or s.padding < 0.2 or not size or size < 2:
        return None
    return Finding(
        f"{100 * s.padding:.0f} % of the steps are padding",
        "texts of very different lengths stand in one batch",
        (f"trainer.batch_size={max(1, size // 4)}",),
    )


def slow(s: Signals) -> Finding | None:
    """Products too small for the machine."""
    size = s.setting("trainer.batch_size")
    if s.arithmetic_share is None or s.arithmetic_share > 0.05 or not size:
        return None
    return Finding(
        f"training ran at {100 * s.arithmetic_share:.1f} % of what this machine's matrix products reach",
        "small products leave it waiting; more rows side by side cost little time, and may want another rate",
        (f"trainer.batch_size={4 * size}",),
    )
