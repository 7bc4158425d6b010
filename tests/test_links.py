"""The chain rule link by link: local derivatives, and the paths along which they multiply."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.__main__ import main
from minigrad.testing.programs import draw_program
from models import LSTM
from models.explaining import named_lstm


def test_the_paths_of_random_programs_add_up_to_the_gradient():
    found = 0
    for seed in range(12):
        program = draw_program(np.random.default_rng(seed))
        leaves = [mg.tensor(x, requires_grad=True) for x in program.leaves()]
        y = program(*leaves)
        derivation = mg.explain(y)
        for leaf in leaves:
            paths, want = derivation.paths(leaf), mg.ledger(y, leaf).gradient
            np.testing.assert_allclose(paths.total, want, rtol=1e-9, atol=1e-10 * max(1, np.abs(want).max()))
            assert str(paths)
            found += len(paths)
    assert found > 50


def test_stages_of_several_outputs_lie_on_paths_too(rng):
    """The fast layer splits one product into gates."""
    lstm = LSTM(3, 4, dtype=np.float64, rng=rng)
    x = mg.tensor(rng.normal(size=(2, 2, 3)), requires_grad=True, name="x")
    loss = mg.square(lstm(x)[0]).sum()
    paths = mg.explain(loss).paths("x")
    assert len(paths) > 10
    np.testing.assert_allclose(paths.total, mg.ledger(loss, x).gradient, rtol=1e-13)


def test_a_derivative_of_a_scalar_is_its_gradient():
    error, _ = named_lstm(2, 3, 2, 1)
    link = mg.explain(error).link("Error<1>", "a<1>")
    assert str(link) == "∂Error<1>/∂a<1> = a<1> − â<1>"
    assert link.value.shape == (3, 1)
    assert link.jacobian().shape == (3, 1)
    np.testing.assert_array_equal(link.pull(2.0), 2 * link.value)


def test_what_is_no_diagonal_is_said_as_what_becomes_of_the_adjoint(rng):
    x = mg.tensor(rng.normal(size=(2, 3)), requires_grad=True, name="x")
    b = mg.tensor(rng.normal(size=3), requires_grad=True, name="b")
    W = mg.tensor(rng.normal(size=(4, 3)), requires_grad=True, name="W")
    y = ((x * b).named("y") @ W.T).named("z")
    derivation = mg.explain(y.sum())
    assert str(derivation.link("y", "b")) == "δb ← sum(δy ⊙ x, axis=0)"  # b is stretched over two rows
    want = np.einsum("ij,jk->ijk", x.numpy(), np.eye(3))
    np.testing.assert_allclose(derivation.link("y", "b").value, want, rtol=1e-15)
    assert derivation.link("z", "W").formula.count("δz") == 1
    want = np.einsum("ik,jl->ijlk", (x * b).numpy(), np.eye(4))
    np.testing.assert_allclose(derivation.link("z", "W").jacobian(), want, rtol=1e-15)


def test_without_names_each_stage_is_a_link():
    x = mg.tensor(0.3, requires_grad=True, name="v1")
    paths = mg.explain(np.sin(2 * x + 2) * x).paths("v1")
    assert paths.stages == {"v2": "2 ⊙ v1", "v3": "v2 + 2", "v4": "sin(v3)", "y": "v4 ⊙ v1"}
    assert [path.names for path in paths] == [("v1", "y"), ("v1", "v2", "v3", "v4", "y")]
    assert float(paths.total) == pytest.approx(np.sin(2.6) + 0.6 * np.cos(2.6))
    lines = str(paths).splitlines()
    assert "∂y/∂v1 = ∂y/∂v1" in lines
    assert lines[-1] == f"dy/dv1 = the sum of 2 products = {float(paths.total):.4f}"
    assert paths[1:] == (paths[1],)


def test_a_long_chain_is_no_deep_recursion():
    x = mg.tensor(0.3, requires_grad=True, name="x")
    y = x
    for _ in range(1500):
        y = mg.sin(y)
    (path,) = mg.explain(y).paths("x")
    assert len(path.links) == 1500
    assert path.product == pytest.approx(mg.ledger(y, x).gradient, rel=1e-12)


def test_a_seed_weighs_the_paths(rng):
    x, seed = mg.tensor(rng.normal(size=3), requires_grad=True, name="x"), rng.normal(size=3)
    y = mg.tanh(x).named("y")
    np.testing.assert_allclose(mg.explain(y, seed=seed).paths("x").total, seed * (1 - np.tanh(x.numpy()) ** 2), rtol=1e-15)


def test_what_was_derived_can_be_printed_when_the_graph_is_freed():
    x = mg.tensor([0.3, 0.2], requires_grad=True, name="x")
    y = mg.square(mg.sin(x).named("s")).sum().named("y")
    derivation = mg.explain(y)
    paths = derivation.paths("x")
    y.backward()
    assert "cos(x)" in str(paths)
    with pytest.raises(mg.MinigradError, match="∂s/∂x: the graph was freed; ask before backward"):
        derivation.link("s", "x").jacobian()


@pytest.mark.parametrize(("ask", "says"), [
    (lambda d: d.link("c<2>", "x<1>"), r"no derivative of 'c<2>' by 'x<1>'; c<2> is computed from c<1>, Γ_f<2>, Γ_u<2>, c̃<2>"),
    (lambda d: d.link("q", "x<1>"), "no derivative of 'q' by 'x<1>'; one of z<1>, sum_f<1>"),
    (lambda d: d.paths("W_f"), "96,789 paths lead from W_f to Error; at most 10,000; mg.ledger sums"),
    (lambda d: d.paths("q"), "no node of this graph is called 'q'"),
    (lambda d: d.paths("Error"), "is what is differentiated"),
    (lambda d: d.paths(mg.tensor(1.0, requires_grad=True)), "is no part of this graph"),
])  # fmt: skip
def test_errors_teach(ask, says):
    error, _ = named_lstm(8, 2, 3, 1)
    with pytest.raises(mg.MinigradError, match=says):
        ask(mg.explain(error, "c<1>"))


def test_the_command_prints_paths(capsys):
    assert main(["explain", "tanh(W @ x).sum()", "W=2x3", "x=3", "--paths", "--wrt", "W"]) == 0
    out = capsys.readouterr().out
    assert "v1 = W @ x" in out
    assert "[δv1 ⊗ x]" in out
    assert "dx" not in out
    assert main(["explain", "tanh(W @ x).sum()", "W=2x3", "x=3", "--paths"]) == 0
    assert "[δv1 @ W]" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["explain", "s", "s=scalar", "--paths"])
    assert "is what is differentiated" in capsys.readouterr().err
