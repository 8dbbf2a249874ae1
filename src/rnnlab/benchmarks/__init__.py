"""Measuring: how fast something is beside another way to do the same, on which machine, and that both agree."""
