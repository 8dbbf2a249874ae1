"""Losses that need more than torch.nn's: the cross-entropy of a large vocabulary without its logits in memory."""

from rnnlab.losses.cross_entropy import linear_cross_entropy

__all__ = ["linear_cross_entropy"]
