"""Names of the lessons, in the order in which they are taught, with the file each is in and one line. No torch."""

from __future__ import annotations

# name -> (module in this folder, what it shows)
LESSONS: dict[str, tuple[str, str]] = {
    "hidden-state": ("basics", "one state, one set of weights, as many steps as there are"),
    "bptt": ("basics", "backpropagation through time: a sum over distances"),
    "vanishing": ("gradients", "a tanh network's gradient shrinks at a rate that can be predicted"),
    "exploding": ("gradients", "and grows where the spectral radius is above 1"),
    "relu": ("gradients", "tanh shrinks what a large input sends through it, ReLU does not"),
    "identity-init": ("gradients", "IRNN: a state that is copied, and its gradient with it"),
    "clipping": ("cures", "a bound on the step, not on the direction"),
    "tbptt": ("cures", "truncated BPTT: values cross a window's edge, gradients do not"),
    "gates": ("gated", "the LSTM's forget gate sets the rate at which it forgets"),
    "gru": ("gated", "two gates, three quarters of an LSTM's weights"),
    "rnn-vs-lstm-vs-gru": ("gated", "the three at the same number of parameters"),
    "one-hot-vs-embedding": ("words", "an embedding is a one-hot product that need not be made"),
    "variable-lengths": ("words", "no prediction depends on padding"),
    "word-order": ("reviews", "what a bag of words cannot tell apart"),
    "next-word": ("languages", "many-to-many: a model close to the entropy of its language"),
    "sentiment": ("reviews", "many-to-one: a text becomes a class, word by word"),
    "music": ("languages", "one-to-many: tunes whose bars add up"),
    "long-term-dependencies": ("memory", "adding, copying, and the last word of 'the clouds are in the ___'"),
    "moving-ball": ("ball", "where will it go next? One picture does not say"),
    "encoding-bottleneck": ("limits", "one last state against attention, by length"),
    "no-parallelisation": ("limits", "steps that have to wait for each other"),
    "not-long-memory": ("memory", "long short-term memory: what fades, and how fast"),
}
ALIASES = {"lstm": "gates"}
