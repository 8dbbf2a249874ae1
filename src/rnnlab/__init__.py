"""rnnlab: a PyTorch training lab for recurrent networks."""

__version__ = "0.1.0"
