"""Backpropagation through time written by hand: one file a recurrence, plain tensors in and out, no autograd.

Each file has a forward loop and the backward loop that undoes it, over one layer in one direction. The input
projection and the weight gradients are one matrix product each for the whole window; only what depends on the step
before stays in the loop.
"""
