"""Lessons: the known results about recurrent networks, each measured on rnnlab's own code."""
