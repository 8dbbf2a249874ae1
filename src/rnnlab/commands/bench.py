"""`rnnlab bench`: how fast this machine does what rnnlab does, beside torch.nn. Each benchmark is a file `_bench_*`."""

from __future__ import annotations

from importlib import import_module

from rnnlab.cli import BENCHMARKS
from rnnlab.errors import ConfigError
from rnnlab.wording import did_you_mean, listed, side_by_side


def main(argv: list[str]) -> int:
    """Run one benchmark.

    Args:
        argv: What follows the verb: the benchmark's name and its options.

    Returns:
        0, or 1 if what is compared does not compute the same.

    Raises:
        ConfigError: No such benchmark, or a bad option.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: rnnlab bench NAME [options]\n")
        print("\n".join(side_by_side(BENCHMARKS.items())))
        print("\nrnnlab bench NAME --help explains its options.")
        return 0
    if argv[0] not in BENCHMARKS:
        near = did_you_mean(argv[0], BENCHMARKS) or f"; there is {listed(list(BENCHMARKS), 'and')}"
        raise ConfigError(f"bench has no benchmark '{argv[0]}'{near}")
    return import_module(f"rnnlab.commands._bench_{argv[0]}").main(argv[1:])
