"""Training: the loop, optimizers and schedules, checkpoints, logs."""
