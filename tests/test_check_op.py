"""check_op, mutate and the pytest plugin: what they say, and to whom."""

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.domain import POSITIVE, Domain
from minigrad.op import OPS, Kink
from minigrad.testing import GradientError, check_op, mutate
from minigrad.testing.claims import CLAIMS, OF_THE_OP

pytest_plugins = ["pytester"]


def words(name):
    return next(c.words for c in (*CLAIMS, *OF_THE_OP) if c.name == name)


# --- what is said of a right op ---------------------------------------------------------------


def test_a_users_op_in_one_line(user_op):
    softsign = user_op("softsign_", lambda x, /: x / (1 + np.abs(x)), lambda g, y, x: g / (1 + np.abs(x)) ** 2,
                       elementwise=True, branch=np.sign)  # fmt: skip
    report = check_op(softsign)
    assert report.ok
    assert report.op == "softsign_"
    assert len(report.claims) == len(CLAIMS) + len(OF_THE_OP) + 1
    assert report.oracle == "exact differences, differences"
    assert 0 < report.smallest_detectable < 1e-10
    assert "softsign_ keeps 15 claims at 3 points" in str(report)
    assert "seed 0" in str(report)
    assert check_op(OPS["softsign_"], seed=5).seed == 5
    assert check_op("softsign_", order=3).ok


def test_points_may_be_given_in_several_ways(user_op):
    def dot(x, W, /):
        return x @ W

    op = user_op("dot_", dot, lambda g, y, x, W: g @ W.mT, lambda g, y, x, W: x.mT @ g, analytic=True, linear="each")
    pair = np.ones((2, 3)) + np.eye(2, 3), np.arange(12.0).reshape(3, 4)
    for samples in ([pair], [(pair, {})], lambda rng: [(rng.normal(size=(2, 3)), rng.normal(size=(3, 4)))]):
        assert check_op(op, samples).samples == 1
    assert check_op(mg.exp, [np.arange(3.0), (np.arange(2.0),)]).samples == 2


def test_shapes_that_forward_refuses_are_told_and_not_held_against_it(user_op):
    trace = user_op("trace_", lambda x, /: np.einsum("ij->", x), lambda g, y, x: np.broadcast_to(g, x.shape),
                    linear="jointly", analytic=True)  # fmt: skip
    report = check_op(trace)
    assert report.refused == ("trace_(()) float64",)
    assert "forward refuses it: trace_(()) float64" in str(report)
    nothing = user_op("nothing_", lambda x, /: np.einsum("ijkl->", x), lambda g, y, x: np.broadcast_to(g, x.shape))
    with pytest.raises(mg.MinigradError, match=r"no point to try it at.*give some: check_op\(op, samples="):
        check_op(nothing)
    with pytest.raises(ValueError, match="einstein"):  # a point that the caller gave is another matter
        check_op(trace, [np.ones(3)])


def test_what_is_no_op_is_refused():
    with pytest.raises(mg.MinigradError, match=r"<lambda> is not a recorded op.*check_grads\(f"):
        check_op(lambda x: x)
    with pytest.raises(mg.MinigradError, match="'less' has no rules"):
        check_op("less")
    with pytest.raises(mg.MinigradError, match="no_such_op is not a recorded op"):
        check_op("no_such_op")


def test_points_at_a_kink_are_told():
    report = check_op("relu", [np.array([1.0, -2.0]), np.array([[0.0, 1.0]])])
    assert report.kinks == ("relu((1, 2)) float64",)
    assert "not compared, at a kink: relu((1, 2)) float64" in str(report)


# --- what is said of a wrong one --------------------------------------------------------------

x_of = lambda x: x.data if isinstance(x, mg.Tensor) else x  # noqa: E731
kept = {}


def in_place(g, y, x):
    g *= 2
    return g


def remembered(g, y, x):
    buffer = kept.setdefault(np.shape(x), np.empty_like(x_of(x)))
    if isinstance(g, mg.Tensor):
        return g * 2
    np.multiply(g, 2, out=buffer)
    return buffer


double = lambda x, /: 2 * x  # noqa: E731
WRONG = {
    "derivatives": (np.tanh, lambda g, y, x: g * (1 - y), {}),
    "derivatives of second order": (np.tanh, lambda g, y, x: g * (1 - x_of(y) ** 2), {}),
    "one_cotangent_each": (double, lambda g, y, x: np.sum(2 * g), {}),
    "same_program": (double, lambda g, y, x: g * (2 if isinstance(g, mg.Tensor) else 2 + 1e-15), {}),
    "linear_in_the_cotangent": (double, lambda g, y, x: 2 * g + 1e-12, {}),
    "no_memory": (double, remembered, {}),
    "any_layout": (double, in_place, {}),
    "dtype_kept": (lambda x, /: x * np.float64(2), lambda g, y, x: 2 * g, {}),
    "quiet": (lambda x, /: x + 0 / (x * 0 + np.where(x > 9, 1, 0)) * 0 if np.size(x) == 0 else
              np.where(np.log(x * 0) < 0, 2 * x, 2 * x), lambda g, y, x: 2 * g, {}),
    "tangents": (double, lambda g, y, x: 2 * g, {"jvp": lambda ts, y, x: 3 * ts[0]}),
    "traits": (lambda x, /: np.real(x) ** 2, lambda g, y, x: g * 2 * x, {"analytic": True}),
    "traits, linear": (np.square, lambda g, y, x: 2 * x * g, {"linear": "jointly"}),
    "traits, elementwise": (lambda x, /: x[..., ::-1] * 1.0 if x.ndim else x * 1.0,
                            lambda g, y, x: g[..., ::-1] if x.ndim else g, {"elementwise": True}),
    "at_kinks": (lambda x, /: np.maximum(x, 0), lambda g, y, x: np.where(x >= 0, g, 0),
                 {"branch": lambda x: x > 0, "kinks": [Kink("x = 0", (0.0,), (0.0,))]}),
    "at_poles": (np.sqrt, lambda g, y, x: g / (2 * y), {"domain": POSITIVE, "analytic": True}),
}  # fmt: skip


@pytest.mark.parametrize("where", ["domain", "kink", "parameter"])
def test_a_pole_is_looked_for_where_the_record_has_numbers(user_op, where):
    """√(x − 2), whose gradient is 0 · ∞ at 2 where nothing is asked of it."""
    traits = {"domain": Domain("(2, ∞)", lambda rng, shape: rng.uniform(2.5, 4, shape), (2.0,) * (where == "domain"))}
    if where == "kink":
        traits["kinks"] = [Kink("x = 2", (2.0,), (np.inf,))]
    if where == "parameter":
        traits["samples"] = lambda rng: iter([((rng.uniform(2.5, 4, (2, 3)),), {"start": 2.0})])
    root = lambda x, /, *, start=2.0: np.sqrt(x - start)  # noqa: E731
    rule = lambda g, y, x, *, start=2.0: g / (2 * y)  # noqa: E731
    with pytest.raises(GradientError, match="= 2: a cotangent of 0 contributes nan"):
        check_op(user_op("from_two", root, rule, **traits))
    assert check_op(user_op("from_two", root, rule, **traits, singular=True)).ok


@pytest.mark.parametrize("name", WRONG)
def test_each_claim_is_broken_by_what_it_is_about(user_op, name):
    forward, rule, traits = WRONG[name]
    op = user_op("wrong_", forward, rule, **traits)
    with pytest.raises(GradientError) as caught:
        check_op(op)
    message = str(caught.value)
    claim = next(c for c in (*CLAIMS, *OF_THE_OP) if c.name == name.split(",")[0].split()[0])
    assert f"not so: {claim.words}" in message
    assert f"→ {claim.advice}" in message
    assert message.startswith("check_op: 'wrong_' breaks ")


def test_all_broken_claims_are_told_at_once_with_the_points(user_op):
    def rule(g, y, x):
        return (g * (1 - y)).astype(np.float64) + 1

    op = user_op("very_wrong", np.tanh, rule)
    with pytest.raises(GradientError) as caught:
        check_op(op, seed=3)
    message = str(caught.value)
    assert words("derivatives") in message
    assert words("linear_in_the_cotangent") in message
    assert "very_wrong((2, 3)) float64\n    the gradient of input 0 is wrong in 6 of 6 entries" in message
    assert "seed 3" in message
    assert caught.value.census[0].argument == "input 0"
    assert caught.value.census[0].total == 6
    with pytest.raises(GradientError, match="breaks 1 of 15"):
        check_op(op, stop=True)


def test_a_sum_over_stretched_axes_that_is_missing(user_op):
    """A record that does not know that its forward stretches operands."""
    op = user_op("times_", lambda a, b, /: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)
    with pytest.raises(GradientError, match="give broadcasts=True") as caught:
        check_op(op)
    assert "shapes (2, 3) and (3,)" in str(caught.value)
    right = user_op("times_too", lambda a, b, /: a * b, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a,
                    broadcasts=True, elementwise=True, analytic=True)  # fmt: skip
    assert check_op(right).ok


def test_an_elementwise_op_that_looks_at_the_shape_is_told(user_op):
    """Capture makes one call of several such stages."""
    op = user_op("share_", lambda x, /: x / x.size, lambda g, y, x: g / x.size, elementwise=True, linear="jointly")
    with pytest.raises(GradientError, match="elementwise=True, but of every other element alone it makes"):
        check_op(op)


def test_a_rule_that_no_point_tries_is_told(user_op):
    op = user_op("chosen_", lambda x, w, /: x * w, lambda g, y, x, w: g * w, lambda g, y, x, w: g * x)
    only_integers = [((np.ones(3), np.arange(3)), {})]
    with pytest.raises(GradientError, match="the rule for input 1 was never tried"):
        check_op(op, only_integers)
    with pytest.raises(GradientError, match="the rule for input 0 was never tried"):
        check_op("relu", [np.zeros(3)])  # nothing but kinks
    with pytest.raises(GradientError, match="the rule for input 0 was never tried"):
        check_op("exp", [np.zeros((0, 3))])


def test_a_rule_that_raises_is_told(user_op):
    op = user_op("raising", np.tanh, lambda g, y, x: g @ x.mT)
    with pytest.raises(GradientError, match="it raised RuleError: rule of 'raising' for input 0") as caught:
        check_op(op, [np.ones((2, 3))])
    message = str(caught.value)
    assert message.count("it raised RuleError") < 4  # once for each kind of call, not for each claim
    assert f"not so, for the same reason: {words('nothing_shared')}" in message


def test_the_samples_of_a_check_depend_on_the_seed_alone():
    first, again = (str(check_op("tanh", seed=4)) for _ in range(2))
    assert first == again


def test_the_examples_of_the_docstrings_run(user_op):
    user_op("softsign_", np.tanh, lambda g, y, x: g)  # defined anew by the example, and removed here
    for function in (check_op, mutate):
        tests = doctest.DocTestFinder().find(function, function.__name__, globs={})
        assert sum(len(t.examples) for t in tests) >= 3
        for t in tests:
            assert doctest.DocTestRunner().run(t).failed == 0


# --- mutate -----------------------------------------------------------------------------------


def test_mutate_tells_good_tests_from_bad_ones():
    x = np.array([0.5, -1.0, 2.0])

    def only_shapes():
        assert mg.vjp(mg.tanh, x)[1](np.ones(3))[0].shape == (3,)

    def with_numbers():
        np.testing.assert_allclose(mg.vjp(mg.tanh, x)[1](2 * np.ones(3))[0].data, 2 - 2 * np.tanh(x) ** 2, rtol=1e-5)

    def thoroughly():
        check_op("tanh")

    bad, fair, good = (mutate("tanh", test) for test in (only_shapes, with_numbers, thoroughly))
    assert not bad.ok
    assert len(bad.caught) == 0
    assert {o.mutant for o in fair.survived} == {
        "too large by 1e-7", "half the digits", "transposed", "computes in the cotangent's memory",
        "returns the same memory each time", "values detached"}  # fmt: skip
    assert good.ok
    assert len(good.caught) == len(bad.survived) >= 15
    assert "tanh: 0 of" in str(bad)
    assert "twice as much (input 0)" in str(good)
    assert "thoroughly: GradientError" in str(good)
    assert "to notice it, differentiate twice" in str(fair)
    assert "the same numbers as before" in str(good)


def test_mutate_as_a_function_of_tests_says_which_noticed():
    def shapes():
        assert mg.exp(np.ones(2)).shape == (2,)

    def values():
        assert mg.grad(mg.exp)(0.0).item() == 1.0

    result = mutate(mg.exp)(shapes, values)
    assert {o.by for o in result.caught} == {("values: AssertionError",)}
    assert "twice as much" in {o.mutant for o in result.caught}


def test_the_mutant_is_met_on_every_way_to_the_op():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    for way in (lambda: mg.tanh(x), lambda: np.tanh(x), lambda: x.tanh(), lambda: OPS["tanh"](x)):

        def test(way=way):
            x.grad = None
            way().sum().backward()
            np.testing.assert_allclose(x.grad.data, 1 - np.tanh([1.0, 2.0]) ** 2)

        assert "twice as much" in {o.mutant for o in mutate("tanh", test).caught}


def test_the_op_is_as_it_was_afterwards_whatever_happens():
    tanh = OPS["tanh"]
    before = tanh.rules, tanh.singular
    calls = []

    def interrupted():
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mutate("tanh", interrupted)
    assert (tanh.rules, tanh.singular) == before
    mutate("log", lambda: None)
    assert OPS["log"].singular
    assert check_op("tanh").ok


def test_a_test_that_fails_by_itself_is_no_witness():
    def broken():
        raise ValueError("broken")

    with pytest.raises(mg.MinigradError, match="broken fails before anything is wrong: ValueError"):
        mutate("tanh", broken)


def test_what_pytest_raises_counts_and_a_skip_does_not():
    right = mg.grad(mg.exp)(0.0).item()

    def fails():
        if mg.grad(mg.exp)(0.0).item() != right:
            pytest.fail("wrong")

    def skips():
        if mg.grad(mg.exp)(0.0).item() != right:
            pytest.skip("no matter")

    assert ("fails: Failed",) in {o.by for o in mutate("exp", fails).caught}
    assert mutate("exp", skips).caught == ()


def test_mutants_that_change_nothing_are_equivalent():
    verdicts = {o.mutant: o.verdict for o in mutate("add", lambda: None).outcomes}
    assert verdicts["another input's rule"] == "equivalent"
    assert verdicts["values detached"] == "equivalent"
    assert verdicts["the sign"] == "survived"
    assert {o.verdict for o in mutate("sign", lambda: None).outcomes if o.mutant == "zero"} == {"equivalent"}


# --- the pytest plugin ------------------------------------------------------------------------

ROOT = Path(mg.__file__).parent.parent
PREAMBLE = """
import numpy as np
import pytest

import minigrad as mg

wrong = mg.define("wrong_tanh", np.tanh, lambda g, y, x: g * (1 - y), analytic=True)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run a test file in a process of its own that has the plugin."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(text, *options, plugin="minigrad.testing.plugin"):
        pytester.makepyfile(PREAMBLE + text)
        return pytester.runpytest_subprocess("-p", plugin, "-p", "no:cacheprovider", "-p", "no:hypothesispytest",
                                             "-p", "no:xdist", "--strict-markers", *options)  # fmt: skip

    return run


def test_marked_functions_say_what_to_check(run):
    result = run("""
@pytest.mark.gradcheck
def test_right(gradcheck):
    return lambda W, x: mg.sigmoid(W @ x), gradcheck.rng.normal(size=(3, 4)), gradcheck.rng.normal(size=4)

@pytest.mark.gradcheck(order=3)
@pytest.mark.parametrize("n", [1, 4])
def test_more(n):
    return [(np.sin, np.ones(n)), mg.exp]

@pytest.mark.gradcheck
def test_wrong():
    return lambda x: wrong(2 * x), np.ones(3)

@pytest.mark.gradcheck
def test_wrong_op():
    return wrong

@pytest.mark.gradcheck
def test_nothing():
    pass

@pytest.mark.gradcheck
@pytest.mark.xfail(raises=mg.testing.GradientError, strict=True)
def test_known():
    return wrong, np.ones(3)

class TestClass:
    @pytest.mark.gradcheck
    def test_method(self):
        return np.tanh, np.ones(3)
""")
    result.assert_outcomes(passed=4, failed=3, xfailed=1)
    out = result.stdout.str()
    assert "E   minigrad.testing.report.GradientError: check_grads: the gradient of argument 0 is wrong in 3 of 3" in out
    assert "the rule of 'wrong_tanh' for input 0 is wrong by itself" in out
    assert "check_op: 'wrong_tanh' breaks 1 of 15 claims" in out
    assert "it returned None" in out
    for internal in ("/check.py", "opcheck.py", "plugin.py", "Traceback", "hidden"):
        assert internal not in out


def test_the_fixture_shows_the_users_line_and_the_census(run):
    result = run("""
def test_fixture(gradcheck):
    x = gradcheck.rng.normal(size=3)
    assert gradcheck(np.tanh, x).ok
    assert gradcheck.op(mg.tanh).ok
    gradcheck(wrong, x, names=["speed"])
""")
    result.assert_outcomes(failed=1)
    out = result.stdout.str()
    assert '>       gradcheck(wrong, x, names=["speed"])' in out
    assert "the gradient of speed is wrong" in out
    assert "plugin.py" not in out


def seeds(result):
    return [line.split()[-1] for line in result.outlines if line.startswith("seed ")]


SEEDS = """
@pytest.mark.parametrize("k", [0, 1])
def test_seed(gradcheck, k):
    print("rng", gradcheck.rng.integers(2**31))
    assert gradcheck.seed < 0

@pytest.mark.gradcheck(seed=11)
def test_fixed():
    return wrong, np.ones(2)
"""


def test_seeds_belong_to_the_test_and_are_printed_and_given(run):
    first = run(SEEDS)
    assert len(set(seeds(first))) == 3
    assert seeds(first)[2] == "11"
    assert seeds(run(SEEDS, "-k", "test_seed and 0")) == seeds(first)[:1]
    line = next(line for line in first.outlines if line.startswith("seed "))
    assert "; once more: pytest 'test_seeds_" in line
    assert f".py::test_seed[0]' --gradcheck-seed {seeds(first)[0]}" in line
    assert set(seeds(run(SEEDS, "--gradcheck-seed", "123"))) == {"123"}
    by_chance = seeds(run(SEEDS, "--gradcheck-seed", "random"))
    assert len({*by_chance, *seeds(first)}) == 6
    wrong = run(SEEDS, "--gradcheck-seed", "some")
    assert wrong.ret == 4
    assert "a number from 0, 'random' or 'test'" in wrong.stderr.str()


def test_a_mark_that_would_be_ignored_is_an_error(run):
    result = run("""
import unittest

class TestOld(unittest.TestCase):
    @pytest.mark.gradcheck
    def test_method(self):
        return wrong, np.ones(3)
""")
    assert result.ret == 4
    assert "the mark gradcheck is for test functions" in result.stderr.str() + result.stdout.str()
    result = run("""
@pytest.mark.gradcheck(ordre=3)
def test_misspelt():
    return np.tanh, np.ones(3)
""")
    result.assert_outcomes(failed=1)


def test_the_entry_point_loads_it_once_and_in_silence(pytester, monkeypatch):
    """As where minigrad is installed: by its entry point, warnings being errors."""
    site = pytester.mkdir("site")
    info = site / "minigrad_engine-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: minigrad-engine\nVersion: 0.1.0\n")
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    line = next(line.strip() for line in text.splitlines() if "= minigrad.testing.plugin" in line)
    (info / "entry_points.txt").write_text(f"[pytest11]\n{line}\n")
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    pytester.makepyfile(PREAMBLE + "def test_it(gradcheck):\n    gradcheck(np.tanh, np.ones(3))\n")
    for options in ((), ("-p", "minigrad.testing.plugin")):
        result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *options)
        result.assert_outcomes(passed=1)
    without = pytester.runpytest_subprocess("-p", "no:minigrad.testing.plugin", "-p", "no:cacheprovider")
    without.assert_outcomes(errors=1)


def test_the_plugin_brings_nothing_but_pytest_and_numpy():
    program = ("import sys, numpy, pytest; before = set(sys.modules); import minigrad.testing.plugin; "
               "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    found = set(eval(done.stdout))
    assert "minigrad" in found
    assert not found & {"hypothesis", "scipy", "torch", "jax", "mpmath"}
