"""Looks inside a model: what its gates, states and gradients do."""
