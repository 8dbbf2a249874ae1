"""What the source never does: the ways by which data becomes code, and the shell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "rnnlab"
FILES = sorted(SOURCE.rglob("*.py"))

FUNCTIONS = {"eval", "exec", "compile", "__import__", "instantiate"}
METHODS = {"instantiate", "get_method", "get_class", "get_object", "extractall", "extract", "unsafe_load"}
CALLS = {"torch.load", "yaml.load", "yaml.full_load", "pickle.load", "pickle.loads", "os.system", "os.popen"}
MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "hydra.utils", "torch.hub", "runpy"}
SWITCHES = {("weights_only", False), ("shell", True), ("allow_pickle", True), ("trust_repo", True), ("verify", False)}


def offences(source: str) -> Iterator[str]:
    """Yield `line: what` of everything that is not done here."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                yield f"{node.lineno}: {name}("
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS or ast.unparse(node.func) in CALLS:
                yield f"{node.lineno}: {ast.unparse(node.func)}("
            case ast.keyword(arg=name, value=ast.Constant(value=value)) if (name, value) in SWITCHES:
                yield f"{node.value.lineno}: {name}={value}"
            case ast.Import(names=names) if bad := {one.name for one in names} & MODULES:
                yield f"{node.lineno}: import {', '.join(bad)}"
            case ast.ImportFrom(module=module) if module in MODULES:
                yield f"{node.lineno}: from {module} import"
            case ast.List(elts=words) | ast.Tuple(elts=words):
                said = [word.value for word in words if isinstance(word, ast.Constant)]
                runs_python = any("executable" in ast.unparse(w) or ast.unparse(w) == "PYTHON" for w in words[:2])
                if runs_python and "-m" in said and "-P" not in said:
                    yield f"{node.lineno}: python -m without -P loads modules of the folder it is started in"


def test_data_never_becomes_code():
    found = {str(path.relative_to(SOURCE)): list(offences(path.read_text())) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}
    assert len(FILES) > 100


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "hydra.utils.instantiate(config)",
        "from hydra.utils import instantiate",
        "import pickle",
        "torch.load(path)",
        "load(path, weights_only=False)",
        "run(command, shell=True)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "archive.extractall(folder)",
        "Popen([sys.executable, '-m', 'tensorboard.main'])",
    ],
)
def test_the_search_finds_it(source: str):
    assert len(list(offences(source))) == 1


def test_the_search_leaves_alone_what_only_looks_like_it():
    assert (
        list(offences("model.eval()\nmembers.extractfile(m)\nload(path)\nPopen([sys.executable, '-P', '-m', 'x'])"))
        == []
    )
    assert len(FILES) > 100
