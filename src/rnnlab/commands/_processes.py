"""What a training runs on: its device, threads and allocator, and the processes that train the same model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rnnlab.commands._launch import is_supervised
from rnnlab.config import TrainerConfig
from rnnlab.errors import ConfigError, DivergedError, OutOfMemoryError, StoppedError
from rnnlab.hardware import SetUp, choose_device, set_up
from rnnlab.tasks import Task
from rnnlab.training.alone import Alone, Processes
from rnnlab.training.place import Place
from rnnlab.training.signals import end_with_parent
from rnnlab.training.trainer import Trainer

log = logging.getLogger("rnnlab")


@contextmanager
def ready(trainer: TrainerConfig, place: Place | None) -> Iterator[tuple[torch.device, SetUp, Processes]]:
    """Choose the device, set threads and allocator, and find the other processes that train the same model.

    Raises:
        ConfigError: the device is not there, there are fewer than processes, or it has no graphs.
        LostRankError: another process has ended.
    """
    device = choose_device(trainer.device.value)
    if trainer.cuda_graph and device.type != "cuda":
        raise ConfigError(f"trainer.cuda_graph=true needs a CUDA device, the run's is {device.type}; set it false")
    if place is None:
        yield device, set_up(trainer.threads, keep_memory=trainer.tune_allocator), Alone()
        return
    from rnnlab.training.ranks import Ranks

    if is_supervised():
        end_with_parent()  # saved first, as after any SIGTERM
    device = _device_of(place, device)
    machine = set_up(trainer.threads, keep_memory=trainer.tune_allocator, processes=place.local_size)
    ranks = Ranks(place, device)
    rows = trainer.batch_size
    log.info("processes: %d, %d of the %d rows of a batch each", place.size, rows // place.size, rows)
    yield device, machine, ranks
    ranks.close()  # after an error the others may not be there to agree


def read_corpus(task: Task, ranks: Processes) -> None:
    """Read a task's corpus; the first process encodes it, the others find it in the cache."""
    if not ranks.is_first:
        ranks.wait()
    task.read_corpus()
    if ranks.is_first:
        ranks.wait()


def follow(trainer: Trainer) -> int:
    """Train as one of those processes that write nothing; return the exit code."""
    try:
        trainer.fit()
    except (StoppedError, DivergedError, OutOfMemoryError) as error:
        if is_supervised():
            raise
        return error.exit_code  # the first, which has ended in the same way, says it
    return 0


def _device_of(place: Place, device: torch.device) -> torch.device:
    """The device of one of several processes, each with a GPU of its own.

    Raises:
        ConfigError: there are fewer GPUs than processes here.
    """
    if device.type == "mps":  # of trainer.device=auto
        return torch.device("cpu")
    if device.type != "cuda":
        return device
    if place.local_size > (count := torch.cuda.device_count()):
        raise ConfigError(
            f"trainer.devices={place.size} needs a GPU for each process, got {place.local_size} processes here and "
            f"{count} GPU{'s' * (count > 1)}; lower it or set trainer.device=cpu"
        )
    device = torch.device("cuda", place.local_rank)
    torch.cuda.set_device(device)
    return device
