"""The house: who imports whom."""

import ast
from pathlib import Path

import pytest

import minigrad
import models

HOUSE = Path(minigrad.__file__).parent
MODELS = Path(models.__file__).parent

# Every module imports only from floors below its own.  A package stands for what is in it.
FLOORS = ["errors subgradients", "domain lr_scheduler", "op", "broadcast docstring graph tree", "backward debug mode",
          "boundary", "tensor", "define forward array_api", "ops",
          "functional nn recompute serialize", "optim", "explain capture testing", "__init__",
          "stubs cli", "__main__"]  # fmt: skip
FLOOR = {name: height for height, floor in enumerate(FLOORS) for name in floor.split()}


def floor_of(path):
    return path.relative_to(HOUSE).with_suffix("").parts[0]


def imports(path, package):
    """Absolute names of the modules that a file imports, those for type checkers left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {id(n) for branch in ast.walk(tree) if isinstance(branch, ast.If)
                   and "TYPE_CHECKING" in ast.unparse(branch.test)
                   for statement in branch.body for n in ast.walk(statement)}  # fmt: skip
    inside = [package, *path.relative_to(HOUSE if package == "minigrad" else MODELS).parts[:-1]]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            base += [node.module] if node.module else []
            if node.module and (node.level == 0 or len(base) > 1):
                yield ".".join(base)
            else:  # from . import x
                yield from (".".join([*base, alias.name]) for alias in node.names)


FILES = sorted(HOUSE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_go_strictly_downward(path):
    here = floor_of(path)
    assert here in FLOOR, f"{here} has no floor: add it to FLOORS"
    for name in imports(path, "minigrad"):
        parts = name.split(".")
        assert parts[0] != "models", f"{path.name} imports {name}"
        if parts[0] == "minigrad":
            there = parts[1] if len(parts) > 1 else "__init__"
            there = there if there in FLOOR else "__init__"
            same_package = here == there and path.parent != HOUSE
            assert same_package or FLOOR[there] < FLOOR[here], f"{path.name} ({here}) imports {name}"


def test_the_import_graph_is_not_empty():
    """The test above reads something."""
    found = {name for path in FILES for name in imports(path, "minigrad")}
    assert {"minigrad.op", "minigrad.tensor", "minigrad.errors", "numpy"} <= found


def test_the_ops_package_has_no_cycle():
    family = {p.stem: {n.split(".")[2] for n in imports(p, "minigrad") if n.startswith("minigrad.ops.")}
              for p in (HOUSE / "ops").glob("*.py") if p.stem != "__init__"}  # fmt: skip
    while family:
        free = {name for name, needs in family.items() if not needs & family.keys()}
        assert free, f"a cycle among {set(family)}"
        family = {name: needs for name, needs in family.items() if name not in free}


def test_models_use_public_names_only():
    for path in MODELS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minigrad"):
                private = [a.name for a in node.names if a.name.startswith("_")]
                assert not private, f"{path.name} imports {private} from {node.module}"


def test_importing_minigrad_imports_numpy_alone(python):
    program = """
import sys
before = set(sys.modules)
import numpy
with_numpy = {m.partition(".")[0] for m in sys.modules}
import minigrad
new = {m.partition(".")[0] for m in sys.modules} - with_numpy - set(sys.stdlib_module_names)
print(sorted(new))
"""
    assert python(program).strip() == "['minigrad']"


def test_the_manual_lstm_imports_numpy_alone():
    files = sorted((MODELS / "lstm_manual").glob("*.py"))
    assert {"block.py", "paths.py"} <= {path.name for path in files}
    for path in files:
        others = {name for name in imports(path, "models") if not name.startswith("models.lstm_manual")}
        assert {name.partition(".")[0] for name in others} <= {"__future__", "collections", "numpy", "re", "typing"}


def test_exported_names_exist_and_shadow_no_builtin():
    space = {}
    exec("from minigrad import *", space)
    import builtins

    for name in minigrad.__all__:
        assert hasattr(minigrad, name)
        assert not hasattr(builtins, name)
    for name, function in minigrad.op.PUBLIC.items():
        where = minigrad.linalg if name.startswith("linalg.") else minigrad
        assert getattr(where, name.removeprefix("linalg.")) is function
