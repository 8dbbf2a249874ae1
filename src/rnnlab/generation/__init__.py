"""What a trained language model writes: sampling, and tunes in ABC notation."""

from rnnlab.generation.sampling import filter_logits, sample

__all__ = ["filter_logits", "sample", "stream"]
