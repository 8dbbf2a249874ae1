"""What a trained language model writes: sampling, and tunes in ABC notation."""

from rnnlab.generation.choosing import filter_logits
from rnnlab.generation.sampling import sample

__all__ = ["filter_logits", "sample"]
