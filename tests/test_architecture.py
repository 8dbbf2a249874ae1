"""Who may import whom: the table of the house, held against every import in the source."""

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "rnnlab"

# wing -> the parts of rnnlab it may import. `errors` is everybody's. Modules at the top (settings, run folders) know
# no wing.
MAY_IMPORT: dict[str, set[str]] = {
    "cells": set(),
    "losses": {"cells"},
    "models": {"cells", "losses"},
    "data": set(),
    "evaluation": set(),
    "generation": {"cells", "data.abc"},
    "inspection": {"cells", "data.windows"},
    "diagnosis": {"json_files", "reports.curves", "schema"},
    "reports": {"wording"},
    "sweeps": {"commandline", "config", "json_files", "run_lock", "runs", "training.signals", "wording"},
    "benchmarks": {"cells", "config", "data", "generation", "hardware", "models", "tasks", "training"},
    "lessons": {
        "cells",
        "config",
        "data",
        "generation",
        "inspection",
        "models",
        "reports",
        "tasks.ball",
        "training",
    },
    "tasks": {"config", "plugins", "data", "models", "evaluation", "generation"},
    "training": {
        "config",
        "disk",
        "json_files",
        "schema",
        "data.windows",
        "models.embedding",
        "models.state",
        "tasks.base",
        "inspection",
        "losses",
    },
    "commandline": {
        "cli",
        "config",
        "plugins",
        "schema",
        "wording",
        "run_list",
        "runs",
        "selection",
        "lessons.catalogue",
    },
}
WINGS = {*MAY_IMPORT, "commands"}
TORCH_FREE_MODULES = {
    "cli",
    "config",
    "schema",
    "runs",
    "run_list",
    "run_lock",
    "run_lookup",
    "json_files",
    "disk",
    "plugins",
    "wording",
    "errors",
    "startup",
    "commands._launch",
    "training.place",
    "training.signals",
    "selection",
}
TORCH_FREE_WINGS = {"commandline", "diagnosis", "reports", "sweeps"}


def modules() -> dict[str, Path]:
    names = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names[".".join(part for part in parts if part != "__init__")] = path
    return names


def imports_of(path: Path, *, at_import_time: bool = False) -> set[str]:
    """Modules that a file imports; only those outside functions and TYPE_CHECKING when `at_import_time`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def is_allowed(imported: str, allowed: set[str]) -> bool:
    return any(imported == name or imported.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_what_its_wing_may(module):
    wing = module.partition(".")[0]
    imported = {name.removeprefix("rnnlab.") for name in imports_of(modules()[module]) if name.startswith("rnnlab.")}
    if wing in MAY_IMPORT:
        allowed = {wing, "errors", *MAY_IMPORT[wing]}
        # `from rnnlab.x import y` names both rnnlab.x and rnnlab.x.y: a package on the way to an allowed one is fine
        on_the_way = {name for name in imported if any(entry.startswith(f"{name}.") for entry in allowed)}
        wrong = {name for name in imported - on_the_way if not is_allowed(name, allowed)}
    elif wing != "commands":
        wrong = {name for name in imported if is_allowed(name, set(MAY_IMPORT))} if module != "cli" else set()
    else:
        wrong = set()
    assert not wrong, f"{module} imports {sorted(wrong)}"


def test_the_command_line_reports_and_sweeps_import_no_torch():
    for module, path in modules().items():
        if module in TORCH_FREE_MODULES or module.partition(".")[0] in (
            "commandline",
            "diagnosis",
            "reports",
            "sweeps",
        ):
            heavy = {name.partition(".")[0] for name in imports_of(path, at_import_time=True)}
            assert not heavy & {"torch", "tensorboard", "numpy", "safetensors"}, module


def test_cells_import_nothing_but_torch():
    allowed = {"torch", "rnnlab", *sys.stdlib_module_names}
    for module, path in modules().items():
        if module.partition(".")[0] == "cells":
            extra = {"triton"} if module.startswith("cells.triton") else set()
            assert {name.partition(".")[0] for name in imports_of(path)} <= allowed | extra, module


def test_every_package_of_the_house_is_in_the_table():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders == WINGS
