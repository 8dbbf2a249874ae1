"""The kernels that meet at a barrier, with one OS process a program over shared memory, against one launch a step."""

from __future__ import annotations

import inspect
import itertools
import multiprocessing
import time

import pytest
import torch
from triton.runtime import interpreter

from rnnlab.cells import triton as engine
from rnnlab.cells.triton import launch
from rnnlab.cells.triton.plan import overridden

BLOCKS = {"block_batch": 16, "block_units": 16, "chunks": (16, 16), "resident": True}


def run_program(kernel, place, grid, arguments, options) -> None:
    """Interpret the one program at `place`, as triton's interpreter does for all of them in turn.

    The second owner of units starts late: whoever does not wait for it reads what is not there yet.
    """
    time.sleep(0.3 * place[0])
    function = kernel.rewrite()
    executor = interpreter.GridExecutor(function, kernel.arg_names, grid)
    scope = interpreter._patch_lang(function)
    given = inspect.getcallargs(function, *arguments, **options)
    given = {k: v if k in executor.constexprs else interpreter._implicit_cvt(v) for k, v in given.items()}
    interpreter.interpreter_builder.set_grid_dim(*grid)
    interpreter.interpreter_builder.set_grid_idx(*place)
    function(**given)
    scope.restore()


def start_together(missing=()):
    """A replacement of `launch._start`: all programs of a grid at once, but those at `missing`."""

    def start(kernel, grid, arguments, options) -> None:
        for argument in (*arguments, *options.values()):
            if isinstance(argument, torch.Tensor):
                argument.share_memory_()
        context = multiprocessing.get_context("fork")
        programs = [
            context.Process(target=run_program, args=(kernel, place, grid, arguments, options), daemon=True)
            for place in itertools.product(*map(range, grid))
            if place not in missing
        ]
        for program in programs:
            program.start()
        for program in programs:
            program.join(30)
        codes = [program.exitcode for program in programs]
        for program in programs:
            program.kill()
        assert codes == [0] * len(programs)  # None: it still waited

    return start


# Python 3.12 and later warn of forking beside torch's idle threads.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("with_extras", [False, True])
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru"])
def test_programs_that_meet_at_a_barrier_equal_one_launch_a_step_bit_for_bit(
    cell, with_extras, make_inputs, make_extras, results_and_gradients, monkeypatch
) -> None:
    inputs, lengths = make_inputs(cell, 3, 17, 2, 20), torch.arange(17) % 4
    extras = make_extras(cell, 3, 17, 20) if with_extras else None
    with overridden(mode="step", **BLOCKS):
        wanted = results_and_gradients(engine.run_direction, cell, inputs, lengths, True, extras)
    monkeypatch.setattr(launch, "_start", start_together())
    with overridden(mode="grid", **BLOCKS):
        ours = results_and_gradients(engine.run_direction, cell, inputs, lengths, True, extras)
    assert all(torch.equal(a, b) for a, b in zip(ours, wanted, strict=True))
    assert launch.failure_flag(torch.device("cpu")).item() == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_program_that_waits_in_vain_ends_with_nan_and_a_flag(make_inputs, monkeypatch) -> None:
    x, state, weights = make_inputs("rnn_tanh", 3, 2, 2, 32)
    flag = torch.zeros(1, dtype=torch.int32)
    monkeypatch.setitem(launch._failed, torch.device("cpu"), flag)
    monkeypatch.setattr(launch, "PATIENCE", 20)
    monkeypatch.setattr(launch, "_start", start_together(missing=[(1, 0, 0)]))
    with torch.no_grad(), overridden(mode="grid", **BLOCKS):
        y, (h_n,) = engine.run_direction("rnn_tanh", x, state, weights, None, False)
    assert flag.item() == 1
    assert y[0, :, :16].isfinite().all()  # the first step waits for nobody
    assert y[1:, :, :16].isnan().all()
    assert h_n[:, :16].isnan().all()
