"""The benchmark of the ops: it knows how to call them, and compares what agrees."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import ops, peers
from minigrad.op import OPS, PUBLIC

FUNCTIONS = ops.differentiable()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_op_with_a_derivative_is_called(name):
    """Of small size: a gradient for every float array, in its shape and dtype."""
    with np.errstate(all="ignore"):
        _, arrays, call = ops._inputs(FUNCTIONS[name], ops.SIZES[0])
        rng = np.random.default_rng(0)
        function = ops.with_generator(PUBLIC[name], rng)
        seeds = ops.Seeds(call(function, *arrays), rng)
        got = ops.by_minigrad(function, arrays, call, seeds).backward()
    floats = [x for x in arrays if x.dtype.kind == "f"]
    assert len(got) == len(floats) > 0
    assert any(g is not None for g in got)
    for g, x in zip(got, floats, strict=True):
        assert g is None or (g.shape, g.dtype) == (x.shape, np.float32)


def test_every_record_with_a_rule_and_a_public_function_is_in_the_table():
    public = {f.op.name for f in PUBLIC.values() if hasattr(f, "op") and f.op.differentiable}
    assert public <= {getattr(PUBLIC[name], "op", OPS["add"]).name for name in FUNCTIONS}


def test_spellings():
    assert {"concat", "max", "matmul"} <= peers.TORCH.keys()
    assert peers.in_torch(("concat", "concatenate")) == ("cat",)
    assert peers.in_torch(("tanh",)) is None
    assert peers.short("nn.functional.hardsigmoid") == peers.short("hard_sigmoid")
    assert peers.spellings({"a": len, "b": abs, "c": len}) == {"a": ("a", "c"), "b": ("b",)}


def test_a_rival_with_another_gradient_does_not_compete():
    assert ops._agree([np.ones(3)], [np.ones(3)])
    assert not ops._agree([np.ones(3)], [np.full(3, 1.1)])
    assert not ops._agree([np.ones((3, 1))], [np.ones(3)])
    assert not ops._agree([np.ones(3)], [None])
    assert ops._agree([None], [None])


def test_the_table_is_printed_and_written(python, tmp_path):
    asked = ["ops", "--rounds", "2", "--only", "add", "concatenate", "--json", str(tmp_path / "ops.json")]
    out = python(f"from benchmarks.__main__ import main; main({asked!r})")
    rows = json.loads((tmp_path / "ops.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["op"], row["size"]) for row in rows] == [
        ("add", "small"), ("add", "large"), ("concat", "small"), ("concat", "large"),
        ("geometric mean", "small"), ("geometric mean", "large")]  # fmt: skip
    assert all(row["fwd µs"] > 0 and row["fwd+bwd µs"] > 0 for row in rows[:-2])
    assert "fwd+bwd/torch" in out


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        ops.main(["--only", "no_such_op"])
    assert "no_such_op" in capsys.readouterr().err
