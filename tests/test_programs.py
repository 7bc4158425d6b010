"""Random programs: beside PyTorch and JAX, against `check_grads`, shrunk and printed."""

import ast
import importlib
import math
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as hs

import minigrad as mg
from benchmarks import jaxprs
from benchmarks import programs as campaign
from minigrad.op import OPS, PUBLIC, domain_of
from minigrad.testing import GradientError, check_grads
from minigrad.testing import strategies as st
from minigrad.testing.programs import Ref, attempt, draw_program, usable, written

COUNT = int(os.environ.get("MINIGRAD_PROGRAMS", "500"))
"""How many programs a run compares with PyTorch, and as many with JAX."""

quick = settings(deadline=None, derandomize=True, database=None, max_examples=100)


@pytest.fixture
def jax():
    """JAX, an independent oracle; without it the test is skipped."""
    return pytest.importorskip("jax", reason="the oracle JAX is not installed")


@pytest.fixture
def seed():
    """Another one in every run, printed with a failure; MINIGRAD_SEED gives it again."""
    chosen = int(os.environ.get("MINIGRAD_SEED", int.from_bytes(os.urandom(4), "little")))
    print(f"\nMINIGRAD_SEED={chosen}")
    return chosen


def some(count, seed=0, **options):
    return [draw_program(np.random.default_rng((seed, k)), **options) for k in range(count)]


# --- beside others --------------------------------------------------------------------------


@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_programs_agree_in_value_gradient_and_second_derivative(peer, seed, request):
    request.getfixturevalue(peer)
    tally = campaign.Tally()
    for _ in campaign.campaign(COUNT, seed, [peer], tally):
        assert not tally.wrong, tally.wrong[0]
    assert tally.programs == COUNT
    assert tally.forked > COUNT / 2
    assert tally.skipped.total() <= COUNT / 20, tally.skipped
    if COUNT >= 500:
        assert len(tally.ops) > 0.9 * len(campaign.shared_ops((peer,)))


@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_every_op_alone_agrees(peer, request):
    """In the peer's words, which programs rely on."""
    request.getfixturevalue(peer)
    theirs = campaign.peer(peer)
    for op in usable():
        if op.name in theirs.words:
            for program in some(3 if peer == "torch" else 1, 1, ops=[op], stages=1):
                off = campaign.disagreement(campaign.ours(program), theirs(program))
                assert not off, f"{peer}, {off}\n{program.source()}"
    assert not getattr(theirs, "left", None), "JAX compiles these for every shape: add them to benchmarks/jaxprs.py"


def test_jaxprs_in_numpy_are_what_jax_computes(jax):
    """What programs call it with is compared by them; here what they do not: batches, strides, edges."""
    jnp, lax = jax.numpy, jax.lax
    campaign.peer("jax")  # sets float64
    x, k = np.random.default_rng(8).normal(size=(4, 3, 3)), np.array([[2, 0], [1, 7]])
    batch = lax.GatherDimensionNumbers((1, 2), (), (1,), (0,), (0,))
    for f in (
        lambda x: x[k % 4], lambda x: x[:, [2, 0], [1, 1]], lambda x: jnp.take(x, k, axis=0, mode="fill"),
        lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), lambda x: lax.gather(x, k[[0, 1, 0, 1], :1] // 2, batch, (1, 2, 3)),
        lambda x: lax.dynamic_slice(x, (3, 1, 0), (2, 2, 3)), lambda x: lax.dynamic_update_slice(x, x[:2, 1:], (3, 0, 1)),
        lambda x: x.at[k % 4].add(2.0 * x[:2, None]),
        lambda x: x.at[1:3, :, 2].set(9.0), lambda x: jax.vmap(lambda a, i: a.at[i].add(1.0, mode="clip"))(x, k.reshape(4)),
        lambda x: jnp.sort(x, axis=1), lambda x: jnp.linalg.solve(x, x[..., :2]), lambda x: jnp.linalg.solve(x[0].T, x[1]),
        lambda x: lax.linalg.triangular_solve(x, x + 1, left_side=False, lower=True, transpose_a=True),
        lambda x: lax.linalg.triangular_solve(x, x + 1, left_side=True, transpose_a=True, unit_diagonal=True),
        lambda x: jnp.linalg.det(x), lambda x: jnp.linalg.svd(x, compute_uv=False),
        lambda x: lax.scan(lambda c, row: (c + row, c * row), x[0], x, reverse=True),
        lambda x: jnp.round(x * 4) + jnp.tile(x[:1], (4, 1, 1)) * jax.scipy.special.polygamma(1, jnp.abs(x)),
    ):  # fmt: skip
        traced, left = jax.make_jaxpr(f)(x), Counter()
        got = jaxprs.evaluate(traced.jaxpr, traced.consts, [x], left)
        for mine, its in zip(got, jax.tree.leaves(f(jnp.asarray(x))), strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-11, atol=1e-11, err_msg=str(traced))
        assert not left


def test_programs_of_every_op_pass_check_grads(seed):
    for k, program in enumerate(some(40, seed)):
        try:
            assert check_grads(program, *program.leaves()).ok
        except Exception as error:
            pytest.fail(f"seed {seed}, program {k}: {error}\n{program.source()}")


@pytest.mark.parametrize(("factor", "second"), [(1 + 1e-8, False), (1.0, True)])
def test_the_comparison_sees_a_small_error(torch, user_op, factor, second):
    """Of 1e-8 in a gradient; of a factor that a second derivative forgets."""
    def rule(g, y, x):
        z = mg.tensor(y.data) if second and isinstance(y, mg.Tensor) else y
        return g * (1 - z * z) * factor

    user_op("nearly_tanh", np.tanh, rule, analytic=True)
    theirs = campaign.peer("torch")
    theirs.words["nearly_tanh"] = torch.tanh
    try:
        found = [campaign.disagreement(campaign.ours(p), theirs(p))
                 for p in some(30, ops=["nearly_tanh", "sin", "multiply"]) if "nearly_tanh" in p.ops]  # fmt: skip
    finally:
        del theirs.words["nearly_tanh"]
    seen = [what.partition(" of")[0] for what in found]
    assert seen.count("second derivative" if second else "gradient") > 0.7 * len(seen)
    assert "value" not in seen


def test_the_campaign_is_one_command_and_goes_on_where_it_stopped(torch, tmp_path, capsys):
    for count in ("3", "7"):
        with pytest.raises(SystemExit) as done:
            campaign.main(["--count", count, "--peers", "torch", "--resume", str(tmp_path / "note.json")])
        assert done.value.code == 0
    said = capsys.readouterr()
    assert "7 programs of seed 0" in said.out
    assert "0 disagreements" in said.out


# --- what is drawn --------------------------------------------------------------------------


def test_programs_are_forked_bounded_and_of_every_op():
    programs = some(1000)
    drawn = {name for p in programs for name in p.ops}
    assert {op.name for op in usable() if op.differentiable} - drawn == set()
    assert np.mean([p.forks > 0 for p in programs]) > 0.6
    assert 6 < np.mean([len(p.stages) for p in programs]) < 20
    for program in programs[:100]:
        known = dict(program.point)
        for stage in program.stages:
            inputs = [known[k.name] if isinstance(k, Ref) else k for k in stage.operands]
            y = attempt(stage.op, inputs, stage.params)
            assert y is not None
            known.update(zip(stage.results, y if stage.several else (y,), strict=True))
        assert all(np.max(np.abs(v)) <= 20 for v in known.values() if v.dtype.kind == "f")


def test_a_seed_gives_the_same_program_and_arrays_and_tensors_the_same_value():
    for a, b in zip(some(30, 3), some(30, 3), strict=True):
        assert a.source() == b.source()
        value = a(*map(mg.tensor, a.leaves()))
        assert value.item() == float(a(*a.leaves())) == float(np.asarray(b(*b.leaves())))


def test_a_source_is_the_program():
    for program in some(60, 5):
        space = {}
        exec(program.source().partition("\nprint(")[0], space)
        again = space["program"](*(space[name] for name in program.point))
        assert np.asarray(again.data if isinstance(again, mg.Tensor) else again) == program(*program.leaves())


def test_values_are_written_exactly():
    for value in (np.array(0.1), np.array([[1, 2]], np.int32), np.zeros((0, 3)), np.array([True]), (1, (2,)),
                  [np.float32(0.1)], {"a": slice(1, None, -2)}, np.dtype(np.float32), np.float16, None, ...,
                  np.array([np.inf, -np.inf])):  # fmt: skip
        again = eval(written(value), {"np": np, "inf": np.inf})
        assert type(again) is type(value)
        if isinstance(value, np.ndarray):
            assert (again.dtype, again.shape, again.tobytes()) == (value.dtype, value.shape, value.tobytes())
        else:
            assert again == value


def test_no_stage_stands_at_a_kink():
    relu, largest, sqrt = OPS["relu"], OPS["max"], OPS["sqrt"]
    assert attempt(relu, [np.array([1.0, 0.5])], {}) is not None
    assert attempt(relu, [np.array([1.0, 1e-5])], {}) is None
    assert attempt(largest, [np.array([1.0, 1.0 + 1e-5])], {}) is None
    assert attempt(sqrt, [np.array([1e-7])], {}) is None
    assert attempt(sqrt, [np.array([-1.0])], {}) is None
    assert attempt(OPS["less"], [np.array([1.0]), np.array([1.0])], {}) is None


# --- shrinking ------------------------------------------------------------------------------


def test_a_wrong_op_shrinks_to_itself_and_its_script_fails_by_itself(tmp_path, monkeypatch, python):
    (tmp_path / "my_ops.py").write_text(
        "import numpy as np\nimport minigrad as mg\n"
        "bent = mg.define('bent', lambda x, /: np.sinh(x) * x, lambda g, y, x: g * (np.cosh(x) * x + 2 * np.sinh(x)),"
        " analytic=True, elementwise=True)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("my_ops")

    def wrong(program):
        try:
            return bool(program.ops) and not check_grads(program, *program.leaves(), order=1).ok
        except GradientError:
            return True

    try:
        smallest = find(st.programs(), wrong, settings=settings(quick, max_examples=300))
        assert smallest.ops == ("bent",)
        assert len(smallest.stages) == 1
        assert repr(smallest) == smallest.source()
        assert "import my_ops  # defines the op 'bent'" in smallest.source()
        assert len(smallest.source().splitlines()) < 20
        with pytest.raises(AssertionError, match="GradientError: check_grads: the gradient of argument 0 is wrong"):
            python(smallest.source())
    finally:
        OPS.pop("bent")
        PUBLIC.pop("bent")
        sys.modules.pop("my_ops")


# --- other strategies -----------------------------------------------------------------------


@settings(quick, max_examples=400)
@given(hs.data())
def test_every_index_expression_is_valid_and_selects_what_numpy_does(data):
    shape = data.draw(st.shapes(min_side=0))
    index = data.draw(st.indices(shape))
    x = np.arange(math.prod(shape), dtype=float).reshape(shape)
    want = x[index]
    leaf = mg.tensor(x, requires_grad=True)
    y = leaf[index]
    np.testing.assert_array_equal(y.data, want)
    seed = np.arange(1.0, want.size + 1).reshape(want.shape)
    y.backward(seed)
    places = want.astype(int).reshape(-1)
    np.testing.assert_array_equal(leaf.grad.data.reshape(-1),
                                  np.bincount(places, seed.reshape(-1), minlength=x.size))  # fmt: skip


def test_index_expressions_are_of_every_kind():
    kinds = set()

    @settings(quick, max_examples=500)
    @given(st.indices((3, 4, 2)))
    def collect(index):
        parts = index if isinstance(index, tuple) else (index,)
        kinds.update(k.dtype.kind if isinstance(k, np.ndarray) else type(k).__name__ for k in parts)
        kinds.update("back" for k in parts if isinstance(k, slice) and (k.step or 1) < 0)
        kinds.add("alone" if not isinstance(index, tuple) else "tuple")
        kinds.update("wide" for k in parts if isinstance(k, np.ndarray) and k.dtype == bool and k.ndim > 1)

    collect()
    assert kinds == {"int", "slice", "back", "NoneType", "ellipsis", "i", "b", "list", "bool", "wide", "alone", "tuple"}


@quick
@given(hs.data())
def test_inputs_lie_in_the_domain_and_away_from_kinks(data):
    op = data.draw(hs.sampled_from([op for op in usable() if op.differentiable]))
    inputs, params = data.draw(st.inputs(op))
    with np.errstate(all="raise", under="ignore"):
        op.forward(*inputs, **params)
    if op.samples is None and domain_of(op, 0).name == "(0, ∞)":
        assert np.all(inputs[0] > 0)
    assert attempt(op, inputs, params, bounded=False) is not None


@quick
@given(st.arrays("relu"), st.arrays(domain_of(OPS["log"], 0)), st.arrays("log", shape=(2, 5)), st.broadcastable_shapes(3))
def test_arrays_of_an_op_and_shapes_that_broadcast(x, positive, logs, shapes):
    assert np.all(np.abs(x) > 1e-5)
    assert np.all(positive > 0)
    assert logs.shape == (2, 5)
    assert len(shapes) == 3
    np.broadcast_shapes(*shapes)


def test_hypothesis_is_imported_by_one_file_and_only_when_asked_for(python):
    files = Path(mg.__file__).parent.rglob("*.py")
    using = [f.name for f in files for node in ast.walk(ast.parse(f.read_text(encoding="utf-8")))
             if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hypothesis")]  # fmt: skip
    assert set(using) == {"strategies.py"}
    said = python("import sys, minigrad.testing.programs\nprint('hypothesis' in sys.modules)\n"
                  "sys.modules['hypothesis'] = None\n"
                  "try: import minigrad.testing.strategies\nexcept Exception as e: print(e)")  # fmt: skip
    assert said.startswith("False\n")
    assert "pip install" in said
