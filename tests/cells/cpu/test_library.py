"""Loading the engine, and what is said where it cannot be."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from rnnlab.cells.cpu import library as module
from rnnlab.cells.cpu.library import Product, Window, library


@pytest.fixture
def fresh():
    """Forget what was loaded, before and after."""
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "FILE", tmp_path / "none.so")
    assert library().functions is None
    assert "no C++ compiler was found when rnnlab was installed" in library().detail


@pytest.mark.usefixtures("fresh")
def test_a_damaged_library_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(b"not a library")
    monkeypatch.setattr(module, "FILE", damaged)
    assert library().functions is None
    assert library().detail.startswith("cannot be loaded: ")
    assert "\n" not in library().detail


@pytest.mark.usefixtures("fresh")
@pytest.mark.skipif(library().functions is None, reason="the engine is not built")
def test_a_library_from_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERFACE", module.INTERFACE + 1)
    assert library().functions is None
    assert "another version" in library().detail


def test_the_structures_have_the_fields_of_the_header_in_order() -> None:
    header = (Path(module.__file__).parent / "src" / "engine.h").read_text()
    for name, structure in (("rnnlab_window", Window), ("rnnlab_product", Product)):
        body = header.split(f"struct {name} {{")[1].split("};")[0]
        declared = []
        for line in body.splitlines():
            code = line.split("//")[0].strip()
            if code:
                kind, names = code.removeprefix("const ").rstrip(";").split(" ", 1)
                declared += [(part.strip().lstrip("*"), kind, "*" in part) for part in names.split(",")]
        wanted = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double}
        assert [(n, ctypes.c_void_p if pointer else wanted[kind]) for n, kind, pointer in declared] == list(
            structure._fields_
        )
