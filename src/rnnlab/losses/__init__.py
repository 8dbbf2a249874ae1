"""Losses that need more than torch.nn's: the cross-entropy of a large vocabulary without its logits in memory."""

from rnnlab.losses.cross_entropy import later_times, linear_cross_entropy

__all__ = ["later_times", "linear_cross_entropy"]
