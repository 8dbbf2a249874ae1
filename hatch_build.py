"""What installing rnnlab does beside copying files: it compiles the CPU engine, if there is a compiler."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src", "rnnlab", "cells", "cpu")
LIBRARY = FOLDER / "librnnlab_cells.so"


class EngineBuildHook(BuildHookInterface):
    """Builds the engine into the source tree and takes it into the wheel; without one the wheel is pure Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a failure is reported and the installation goes on, since PyTorch can do the same work."""
        build = _load_build(Path(self.root))
        target = Path(self.root) / LIBRARY
        try:
            sets = build.build(target)
        except build.BuildError as error:
            target.unlink(missing_ok=True)  # one from an earlier source would not fit
            self.app.display_warning(f"rnnlab's CPU engine was not built, layers will run in PyTorch: {error}")
            return
        self.app.display_info(f"rnnlab's CPU engine was built for {', '.join(sets)}")
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        # One library serves every Python: only the platform matters.
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def clean(self, versions: list[str]) -> None:
        """Remove the library."""
        Path(self.root, LIBRARY).unlink(missing_ok=True)


def _load_build(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("rnnlab_engine_build", root / FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
