"""How the programs that share rows and a direction meet after each step, before they read what the others wrote.

SYNC says how: NOBODY, the launch covers one step and its end is the meeting; OWN_THREADS, one program owns all units
and a barrier of its threads is enough; ALL_PROGRAMS, a counter in global memory, which needs every program of the
launch to be running. No address is written twice in a launch, so nothing stale can be read.
"""

# pyright: basic, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# (triton compiles this text itself; to a type checker its constants and its tensors are one class)

from __future__ import annotations

import triton
import triton.language as tl

NOBODY, OWN_THREADS, ALL_PROGRAMS = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
COUNTER_STRIDE = tl.constexpr(32)  # counters of two groups never share a cache line of 128 bytes


@triton.jit
def own_counter(counters):
    """Return the counter of the programs that share this program's rows and direction."""
    return counters + (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)) * COUNTER_STRIDE


@triton.jit
def announce(counter, SYNC: tl.constexpr):
    """Make what this program stored visible to those that wait for it."""
    if SYNC != NOBODY:
        tl.debug_barrier()  # all threads have stored before one of them counts
    if SYNC == ALL_PROGRAMS:
        tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
def await_others(counter, visits_done, patience, SYNC: tl.constexpr):
    """Wait until every program of the group has announced so many visits, or has been asked `patience` times.

    Returns:
        The patience for the next wait: 0 after one wait was given up, so that the launch comes to its end.
    """
    if SYNC == ALL_PROGRAMS:
        wanted = visits_done * tl.num_programs(0)
        arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
        asked = 0
        while (arrived < wanted) & (asked < patience):
            arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
            asked += 1
        patience = tl.where(arrived < wanted, 0, patience)
    return patience


@triton.jit
def nan_if_given_up(patience, failed, SYNC: tl.constexpr):
    """Return 0; after a wait that was given up nan, so that no wrong number is ever returned, and raise the flag."""
    poison = 0.0
    if SYNC == ALL_PROGRAMS:
        if patience == 0:
            tl.store(failed, 1)
        poison = tl.where(patience == 0, float("nan"), 0.0)
    return poison
