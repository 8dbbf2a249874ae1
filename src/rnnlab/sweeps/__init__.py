"""Sweeps: which jobs there are, which still run, in which processes, and what came of them. No torch."""
