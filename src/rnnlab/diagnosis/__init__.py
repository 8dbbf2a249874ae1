"""What ails a training run, from what it measured of itself: signals, rules, findings. No torch."""
