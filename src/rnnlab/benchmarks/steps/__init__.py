"""A whole training step beside the loop that people write today: same model, data, batches, each in its own process."""
