"""The hand-derived BPTT against complex steps, the fast form against the derivation."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import models.__main__ as cli
from models.lstm_manual import (
    BIASES,
    WEIGHTS,
    backward,
    backward_batched,
    batched,
    chunked,
    count_paths,
    document_literal,
    final_formula,
    forward,
    forward_batched,
    paths,
    per_block,
    per_path,
    sigmoid,
)

Array = NDArray[Any]
Arrays = dict[str, Array]

PARAMETERS = WEIGHTS + BIASES
STEP = 1e-30  # a complex step loses no digits, however small
FORMS = pytest.mark.parametrize(
    ("run", "back"),
    [(forward, backward), (forward_batched, backward_batched)],
    ids=["block", "batched"],
)


def problem(
    T: int, B: int, n_a: int = 4, n_x: int = 3, *, zero_state: bool = False, seed: int = 0
) -> tuple[Arrays, tuple[Array, Array, Array], Array]:
    """Parameters, (x, a0, c0) and the weights of the loss Σ d_outputs ⊙ outputs."""
    rng = np.random.default_rng([T, B, n_a, n_x, seed])
    params = {name: rng.normal(size=(n_a, n_a + n_x)) / np.sqrt(n_a) for name in WEIGHTS}
    params |= {name: rng.normal(size=n_a) for name in BIASES}
    states = rng.normal(size=(2, B, n_a)) * (not zero_state)
    return params, (rng.normal(size=(T, B, n_x)), *states), rng.normal(size=(T, B, n_a))


def assert_close(
    got: Array, want: Array, label: str = "", digits: float = 1e-13, floor: float = 0.0
) -> None:
    """To so many digits of the largest entry; absolutely where everything is 0."""
    assert got.shape == want.shape, label
    scale = np.abs(want).max(initial=floor) or 1.0
    assert np.abs(got - want).max(initial=0) <= digits * scale, label


def complex_step(loss: Callable[[Array], Any], at: Array) -> Array:
    gradient = np.empty(at.shape)
    for index in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[index] += STEP * 1j
        gradient[index] = loss(moved).imag / STEP
    return gradient


def complex_step_per_sequence(loss: Callable[[Array], Array], at: Array) -> Array:
    """The same for an array of one sequence, all entries in one run, as one batch.

    `loss` takes copies of the array stacked along a new first axis, to a loss each.
    """
    moved = np.repeat(at[None].astype(complex), at.size, axis=0)
    moved.reshape(at.size, at.size)[np.diag_indices(at.size)] += STEP * 1j
    return (loss(moved).imag / STEP).reshape(at.shape)


def reference(params: Arrays, inputs: tuple[Array, Array, Array], d_outputs: Array) -> Arrays:
    """The gradient of Σ d_outputs ⊙ outputs by complex steps on `forward`."""

    def with_parameter(name: str) -> Callable[[Array], Any]:
        return lambda p: np.sum(d_outputs * forward(params | {name: p}, *inputs)["outputs"])

    found = {name: complex_step(with_parameter(name), params[name]) for name in PARAMETERS}
    x, a0, c0 = inputs
    for name, axis in {"x": 1, "a<0>": 0, "c<0>": 0}.items():
        found[name] = np.empty({"x": x, "a<0>": a0, "c<0>": c0}[name].shape)
        for b in range(x.shape[1]):
            own = {"x": x[:, b], "a<0>": a0[b], "c<0>": c0[b]}

            def loss(moved: Array, name: str = name, own: Arrays = own, b: int = b) -> Array:
                copies = {
                    key: np.repeat(value[None], len(moved), axis=0) for key, value in own.items()
                }
                copies[name] = moved
                x_copies = copies["x"].swapaxes(0, 1)
                outputs = forward(params, x_copies, copies["a<0>"], copies["c<0>"])["outputs"]
                return np.asarray(np.einsum("ti,tki->k", d_outputs[:, b], outputs))

            where = (slice(None),) * axis + (b,)
            found[name][where] = complex_step_per_sequence(loss, own[name])
    return found


CASES = [(T, B, 4, 3) for T in (1, 2, 3, 10, 100) for B in (1, 3)] + [(3, 4, 4, 3), (3, 2, 2, 5)]


@pytest.mark.parametrize("zero_state", [False, True], ids=["random state", "zero state"])
@pytest.mark.parametrize("sizes", CASES, ids=str)
def test_both_forms_agree_with_complex_steps(
    sizes: tuple[int, int, int, int], zero_state: bool
) -> None:
    params, inputs, d_outputs = problem(*sizes, zero_state=zero_state)
    want = reference(params, inputs, d_outputs)
    for run, back in ((forward, backward), (forward_batched, backward_batched)):
        got = back(run(params, *inputs), d_outputs)
        for name, gradient in want.items():
            assert_close(got[name], gradient, f"{back.__name__}: {name}")


class Replay:
    """An LSTM that can be disturbed at one place: a node, or the one use of it by a stage."""

    def __init__(self, params: Arrays, inputs: tuple[Array, Array, Array], d_outputs: Array):
        self.params, self.inputs, self.d_outputs = params, inputs, d_outputs
        self.places: Arrays = {}
        self.at, self.by = "", np.zeros(())
        self.loss()

    def see(self, place: str, value: Array) -> Array:
        self.places[place] = value
        return value + self.by if place == self.at else value

    def loss(self) -> Any:
        x, a, c = (np.swapaxes(each, -1, -2) for each in self.inputs)
        loss, see = 0.0, self.see
        for t in range(1, len(x) + 1):
            z = see(f"z<{t}>", np.concatenate([
                see(f"a<{t - 1}> via z<{t}>", a), see(f"x<{t}>", x[t - 1]),
            ]))  # fmt: skip
            gate = {}
            for g in "fuco":
                W = see(f"W_{g} at t={t}", self.params[f"W_{g}"])
                b = see(f"b_{g} at t={t}", self.params[f"b_{g}"])
                total = see(f"sum_{g}<{t}>", np.einsum("ij,jb->ib", W, z) + b.reshape(-1, 1))
                squash = np.tanh if g == "c" else lambda s: 1 / (1 + np.exp(-s))
                gate[g] = see(f"c\u0303<{t}>" if g == "c" else f"Γ_{g}<{t}>", squash(total))
            c = see(f"c<{t}>", gate["f"] * see(f"c<{t - 1}> via c<{t}>", c) + gate["u"] * gate["c"])
            tanh_c = see(f"tanh_c<{t}>", np.tanh(see(f"c<{t}> via tanh_c<{t}>", c)))
            a = see(f"a<{t}>", tanh_c * gate["o"])
            loss = loss + np.sum(self.d_outputs[t - 1].T * a)
        return loss

    def gradient(self, place: str) -> Array:
        def disturbed(by: Array) -> Any:
            self.at, self.by = place, by
            return self.loss()

        return complex_step(disturbed, np.zeros(self.places[place].shape))


@pytest.mark.parametrize("B", [1, 3])
def test_every_named_value_and_adjoint(B: int) -> None:
    params, inputs, d_outputs = problem(3, B)
    replay = Replay(params, inputs, d_outputs)
    cache = forward(params, *inputs)
    grads = backward(cache, d_outputs)

    not_forks = {"a<0> via z<1>", "c<0> via c<1>"}
    places = set(replay.places) - not_forks
    assert set(grads) == places | {*PARAMETERS, "a<0>", "c<0>", "x"}
    assert set(cache) == {p for p in places if " " not in p} | {
        *PARAMETERS, "a<0>", "c<0>", "outputs",
    }  # fmt: skip

    for place in places:
        assert_close(grads[place], replay.gradient(place), place)
        if " " not in place:
            assert_close(cache[place], replay.places[place], place)


def test_a_fork_sums_its_branches() -> None:
    params, inputs, d_outputs = problem(3, 2)
    grads = backward(forward(params, *inputs), d_outputs)
    branches = grads["c<2> via c<3>"] + grads["c<2> via tanh_c<2>"]
    np.testing.assert_array_equal(grads["c<2>"], branches)
    np.testing.assert_array_equal(grads["a<2>"], d_outputs[1].T + grads["a<2> via z<3>"])
    np.testing.assert_array_equal(grads["c<3>"], grads["c<3> via tanh_c<3>"])
    for name in PARAMETERS:
        rows = np.sum([grads[f"{name} at t={t}"] for t in (1, 2, 3)], axis=0)
        assert_close(grads[name], rows, name, 1e-15)


@FORMS
def test_chunks_hand_over_their_adjoints(run: Any, back: Any) -> None:
    params, (x, a0, c0), d_outputs = problem(10, 3)
    whole = back(run(params, x, a0, c0), d_outputs)
    names = forward(params, x[:5], a0, c0)
    early = run(params, x[:5], a0, c0)
    late = run(params, x[5:], names["a<5>"].T, names["c<5>"].T)
    of_late = back(late, d_outputs[5:])
    of_early = back(early, d_outputs[:5], (of_late["a<0>"], of_late["c<0>"]))
    for name in PARAMETERS:
        assert_close(of_early[name] + of_late[name], whole[name], name)
    assert_close(np.concatenate([of_early["x"], of_late["x"]]), whole["x"], "x")
    for name in ("a<0>", "c<0>"):
        assert_close(of_early[name], whole[name], name)


@FORMS
def test_no_error_no_gradient_and_twice_the_error_twice_the_gradient(run: Any, back: Any) -> None:
    """Two blocks to check by hand: Γ = ½, c̃ = 0.8, so c = 0.4 and 0.6.

    The formula as printed, with Γ_f<t+1> where δc<t+1> ⊙ Γ_f<t+1> belongs, claims
    dError/db_u = 0.1 and dError/db_c = 0.09 although there is no error.
    """
    params = {name: np.zeros((1, 2)) for name in WEIGHTS} | {name: np.zeros(1) for name in BIASES}
    params["b_c"] = np.arctanh([0.8])
    arguments = params, np.ones((2, 1, 1)), np.zeros((1, 1)), np.zeros((1, 1))
    values = forward(*arguments)
    assert values["c<1>"] == pytest.approx(0.4)
    assert values["c<2>"] == pytest.approx(0.6)
    cache = run(*arguments)
    for gradient in back(cache, np.zeros((2, 1, 1))).values():
        assert not gradient.any()

    # Error = a<2>: db_u = δc<2> (c̃ + Γ_f c̃) Γ_u (1 - Γ_u), with δc<2> = Γ_o (1 - tanh²).
    once = back(cache, np.array([0.0, 1.0]).reshape(2, 1, 1))
    δc = 0.5 * (1 - np.tanh(0.6) ** 2)
    assert once["b_u"] == pytest.approx(δc * (0.8 + 0.5 * 0.8) * 0.25, rel=1e-14)
    assert once["b_f"] == pytest.approx(δc * 0.4 * 0.25, rel=1e-14)
    twice = back(cache, np.array([0.0, 2.0]).reshape(2, 1, 1))
    for name, gradient in once.items():
        np.testing.assert_array_equal(twice[name], 2 * gradient)


@given(
    T=st.integers(1, 12),
    B=st.integers(1, 5),
    n_a=st.integers(1, 6),
    n_x=st.integers(1, 6),
    seed=st.integers(0, 1000),
    at_once=st.sampled_from([1, 40, 1 << 13]),
    later=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_batched_form_is_the_block_form(
    T: int, B: int, n_a: int, n_x: int, seed: int, at_once: int, later: bool
) -> None:
    params, inputs, d_outputs = problem(T, B, n_a, n_x, seed=seed)
    d_state = (d_outputs[0], d_outputs[-1] + 1) if later else None
    values, cache = forward(params, *inputs), forward_batched(params, *inputs)
    assert_close(cache["outputs"], values["outputs"], "outputs")
    want = backward(values, d_outputs, d_state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batched, "IN_CACHE", at_once)
        got = backward_batched(cache, d_outputs, d_state)
    assert set(got) == {*PARAMETERS, "a<0>", "c<0>", "x"}
    for name, gradient in got.items():
        # Entries are sums of terms about 1 in size. Where an array has few of them all may cancel,
        # and what is left has lost digits in either form: hence the floor.
        assert_close(gradient, want[name], name, floor=1.0)


@FORMS
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_gradients_have_the_dtype_of_the_parameters(run: Any, back: Any, dtype: Any) -> None:
    params, inputs, d_outputs = problem(3, 2)
    cache = run({name: p.astype(dtype) for name, p in params.items()}, *inputs)
    assert cache["outputs"].dtype == dtype
    for name, gradient in back(cache, d_outputs).items():
        assert gradient.dtype == dtype, name


@FORMS
def test_one_complex_argument_is_not_cut_to_its_real_part(run: Any, back: Any) -> None:
    params, inputs, _ = problem(2, 2)
    for i in range(3):
        moved = [each + 1e-30j * (k == i) for k, each in enumerate(inputs)]
        assert run(params, *moved)["outputs"].imag.any()


@FORMS
def test_arguments_may_have_any_layout_and_stay_as_they_are(run: Any, back: Any) -> None:
    params, inputs, d_outputs = problem(4, 3)
    d_state = (d_outputs[0], d_outputs[1])
    want = back(run(params, *inputs), d_outputs, d_state)

    def strided(value: Array) -> Array:
        wide = np.repeat(value, 2, axis=-1)[..., ::2]
        wide.flags.writeable = False
        return wide

    cache = run({k: strided(p) for k, p in params.items()}, *(strided(each) for each in inputs))
    got = back(cache, strided(d_outputs), tuple(strided(each) for each in d_state))
    for name, gradient in want.items():
        assert_close(got[name], gradient, name, 1e-14)


@FORMS
def test_a_cache_can_be_used_again(run: Any, back: Any) -> None:
    params, inputs, d_outputs = problem(4, 3)
    cache = run(params, *inputs)
    d_state = (d_outputs[0].copy(), d_outputs[1].copy())
    values = {name: value.copy() for name, value in cache.items()}
    first = back(cache, d_outputs, d_state)
    kept = {name: gradient.copy() for name, gradient in first.items()}
    for gradient in (*first.values(), *params.values(), *inputs):
        gradient[...] = np.nan  # what is returned and what was given are not the cache's
    second = back(cache, d_outputs, d_state)
    for name, gradient in kept.items():
        np.testing.assert_array_equal(second[name], gradient)
    for name, value in values.items():
        np.testing.assert_array_equal(cache[name], value)


@FORMS
def test_no_two_gradients_share_memory(run: Any, back: Any) -> None:
    for B in (1, 2):
        params, inputs, d_outputs = problem(2, B)
        gradients = list(back(run(params, *inputs), d_outputs).values())
        for first, second in combinations(gradients, 2):
            assert not np.shares_memory(first, second)


def test_the_outputs_of_the_batched_form_are_read_only() -> None:
    params, inputs, _ = problem(2, 1)
    with pytest.raises(ValueError, match="read-only"):
        forward_batched(params, *inputs)["outputs"][0] = 0


def test_the_sigmoid_saturates_without_a_warning() -> None:
    with np.errstate(all="raise"):
        ends = sigmoid(np.array([-1e4, -1000.0, 0.0, 1000.0, 1e4]))
    assert ends.tolist() == [0, 0, 0.5, 1, 1]
    x = np.linspace(-20, 20, 101)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), atol=1e-16)
    slope = sigmoid(x + STEP * 1j).imag / STEP
    np.testing.assert_allclose(slope, sigmoid(x) * sigmoid(-x), atol=1e-16)


@FORMS
def test_saturated_gates_give_finite_gradients(run: Any, back: Any) -> None:
    params, inputs, d_outputs = problem(3, 2)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for sign in (1e4, -1e4):
            params["b_f"] = np.full(4, sign)
            for gradient in back(run(params, *inputs), d_outputs).values():
                assert np.isfinite(gradient).all()


# --- the same gradient in other forms ------------------------------------------------------------


TOTALS = {*PARAMETERS, "a<0>", "c<0>", "x"}


def derived(sizes: tuple[int, ...], **options: Any) -> tuple[Arrays, Array, Arrays]:
    """Values, dError/da, and the adjoints by the block form, which complex steps confirm above."""
    params, inputs, d_outputs = problem(*sizes, **options)
    cache = forward(params, *inputs)
    return cache, d_outputs, backward(cache, d_outputs)


@pytest.mark.parametrize("sizes", [(1, 2, 4, 3), (2, 1, 4, 3), (3, 3, 2, 4), (4, 2, 4, 3), (6, 1, 1, 2)], ids=str)
def test_the_sum_over_all_paths_is_the_gradient(sizes: tuple[int, ...]) -> None:
    cache, d_outputs, want = derived(sizes)
    got = per_path(cache, d_outputs)
    assert set(got) == TOTALS
    for name, gradient in got.items():
        assert_close(gradient, want[name], name, digits=3e-15 if sizes[0] < 5 else 1e-14, floor=1.0)


def test_the_papers_count_of_paths() -> None:
    counts = [count_paths(T, "W_f") for T in range(1, 7)]
    assert counts == [1, 7, 37, 182, 878, 4214]
    assert [count_paths(T, "W_o") for T in range(1, 7)] == [1, 6, 30, 145, 696, 3336]
    assert sum(count_paths(3, name) for name in WEIGHTS) == 141
    for T in range(1, 6):
        cache, d_outputs, _ = derived((T, 1, 1, 2))
        listed = [path.nodes for path in paths(cache, d_outputs)]
        assert len(set(listed)) == len(listed)
        starts = [nodes[0] for nodes in listed]
        for name in {*starts}:
            assert starts.count(name) == count_paths(T, name), (T, name)
        assert {*starts} == {*PARAMETERS, "a<0>", "c<0>", *(f"x<{t}>" for t in range(1, T + 1))}


def test_a_path_is_a_walk_along_the_equations() -> None:
    cache, d_outputs, want = derived((3, 2, 4, 3))
    found = {str(path): path for path in paths(cache, d_outputs, "W_f")}
    path = found["W_f → sum_f<1> → Γ_f<1> → c<1> → c<2> → a<2> → Error<2>"]
    a, c = cache["Γ_o<2>"] * (1 - cache["tanh_c<2>"] ** 2), cache["Γ_f<2>"]
    gate = cache["Γ_f<1>"] * (1 - cache["Γ_f<1>"])
    by_hand = (d_outputs[1].T * a * c * cache["c<0>"] * gate) @ cache["z<1>"].T
    assert_close(path.product, by_hand, digits=1e-15)
    assert [factor.formula for factor in path.factors] == [
        "dError<2>/da<2>", "Γ_o<2> (1 − tanh_c<2>²)", "Γ_f<2>", "c<0>", "Γ_f<1> (1 − Γ_f<1>)", "z<1>",
    ]  # fmt: skip
    for t in (1, 2, 3):  # row t of the gradient: the paths that enter at block t
        row = sum(p.product for p in found.values() if p.nodes[1] == f"sum_f<{t}>")
        assert_close(np.asarray(row), want[f"W_f at t={t}"], digits=1e-14)


def test_too_many_paths_are_refused_and_unknown_starts_named() -> None:
    cache, d_outputs, _ = derived((5, 1, 2, 3))
    with pytest.raises(ValueError, match=r"T = 5 blocks have 878 paths from W_f alone.*at most T = 4, or 7 if n_a = 1"):
        per_path(cache, d_outputs)
    cache, d_outputs, _ = derived((2, 1, 2, 3))
    with pytest.raises(ValueError, match=r"no path starts at 'x<3>'; one of W_c, .*x<1>, x<2>"):
        next(paths(cache, d_outputs, "x<3>"))
    with pytest.raises(ValueError, match="d_outputs has shape"):
        per_path(cache, d_outputs[1:])


@pytest.mark.parametrize("length", [1, 3, 5, 10, 12])
def test_chunked_is_the_gradient(length: int) -> None:
    params, inputs, d_outputs = problem(10, 3)
    cache = forward(params, *inputs)
    d_state = d_outputs[0], d_outputs[3]
    want = backward(cache, d_outputs, d_state)
    got = chunked(cache, d_outputs, d_state, length=length)
    ends = range(length, 10, length)
    handed = {key for s in ends for key in (f"a<{s}> via z<{s + 1}>", f"c<{s}> via c<{s + 1}>")}
    assert set(got) == TOTALS | handed
    for name, gradient in got.items():
        assert_close(gradient, want[name], name, digits=1e-14)


def test_truncated_chunks_take_the_state_as_given() -> None:
    params, inputs, d_outputs = problem(7, 2)
    cache = forward(params, *inputs)
    got = chunked(cache, d_outputs, length=3, truncate=True)
    assert set(got) == TOTALS
    starts = (0, 3, 6)
    parts = []
    for s in starts:
        state = cache[f"a<{s}>"].T, cache[f"c<{s}>"].T
        own = d_outputs[s : s + 3]
        parts.append(backward(forward(params, inputs[0][s : s + 3], *state), own))
    for name in PARAMETERS:
        assert_close(got[name], np.sum([part[name] for part in parts], axis=0), name)
    assert_close(got["x"], np.concatenate([part["x"] for part in parts]), "x")
    for name in ("a<0>", "c<0>"):
        assert_close(got[name], parts[0][name], name)
    assert np.abs(got["W_f"] - backward(cache, d_outputs)["W_f"]).max() > 0.01
    with pytest.raises(ValueError, match="at least 1 block"):
        chunked(cache, d_outputs, length=0)


def test_the_printed_formula_is_wrong_from_the_first_fork_on() -> None:
    """With a zero state and two blocks it still gives W_f and W_o, whose derivation the paper shows."""
    for T, right in {1: TOTALS, 2: {"W_f", "W_o", "b_f", "b_o"}, 3: set()}.items():
        cache, d_outputs, want = derived((T, 2, 4, 3), zero_state=True)
        got = document_literal(cache, d_outputs)
        assert set(got) == TOTALS
        close = {name for name in PARAMETERS if np.allclose(got[name], want[name], rtol=1e-12, atol=1e-14)}
        assert close == right & {*PARAMETERS}, T


def test_per_block_is_the_derivation() -> None:
    assert per_block is backward


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_final_formula_holds_with_its_numbers(name: str) -> None:
    """One weight that is a number: what is printed, computed by Python, is row t of the gradient."""
    cache, _, grads = derived((3, 1, 1, 2))
    python = str.maketrans({"⊙": "*", "−": "-", "²": "**2", "ᵀ": ""})
    for t in (1, 2, 3):
        what, chain, formula, plugged, result = final_formula(cache, grads, name, t)
        assert what == f"dError/d{name} at t={t}"
        assert chain.endswith(f"∂sum_{name[-1]}<{t}>/∂{name}")
        assert ("δc<" in formula) == (t < 3 and name[-1] != "o")
        number, _, z = plugged.translate(python).partition(" · ")
        got = eval(number) * (np.array(eval(z)) if z else 1)
        want = grads[f"{name} at t={t}"].ravel()
        np.testing.assert_allclose(got, want if z else want[0], rtol=2e-5)
        shown = np.array(eval(result.translate(python))).ravel()
        np.testing.assert_allclose(shown, want, rtol=2e-5)
    with pytest.raises(ValueError, match="at t=4; one of W_f"):
        final_formula(cache, grads, name, 4)


# --- python -m models paths -----------------------------------------------------------------------


def test_the_command_prints_every_path_and_their_sum(capsys: pytest.CaptureFixture[str]) -> None:
    python = str.maketrans({"−": "-", "·": "*"})
    assert cli.main(["paths", "b_f", "--T", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dError/db_f: 37 paths, T = 3"
    walks = [k for k, line in enumerate(lines) if "→" in line]
    assert len(walks) == 37
    walk = "b_f → sum_f<1> → Γ_f<1> → c<1> → c<2> → a<2> → sum_o<3> → Γ_o<3> → a<3> → Error<3>"
    assert sum(lines[k].endswith(f"  {walk}") for k in walks) == 1
    for k in walks:  # the walk, its derivatives, their numbers, the product
        names, numbers, product = (line.partition("= ")[2] or line for line in lines[k + 1 : k + 4])
        assert names.count(" · ") == numbers.count(" · ") == lines[k].count("→") - 1
        assert eval(numbers.translate(python)) == pytest.approx(eval(product.translate(python)), rel=1e-4)
    total, block = (line.split()[-1] for line in lines[-2:])
    assert total == block


@pytest.mark.parametrize("name", ["W_c", "a<0>", "x<2>"])
def test_the_command_takes_any_start_and_size(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["paths", name, "--T", "2", "--hidden", "2", "--inputs", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split()[4:] == lines[-1].split()[3:]
    assert cli.main(["paths", name, "--hidden", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == count_paths(2, name)
    assert found[0]["nodes"][0] == name
    assert found[0]["factors"][0]["by"] == name


def test_the_command_writes_one_row_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["paths", "W_f", "--t", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "dError/dW_f at t=1",
        "  = (δa<1> · ∂a<1>/∂c<1> + δc<2> · ∂c<2>/∂c<1>) · ∂c<1>/∂Γ_f<1> · ∂Γ_f<1>/∂sum_f<1> · ∂sum_f<1>/∂W_f",
    ]
    assert len(lines) == 5


@pytest.mark.parametrize(("words", "says"), [
    (["--T", "5", "--hidden", "2"], "at most T = 4"), (["--T", "0"], "--T 0: at least 1"), (["q"], "no path starts at 'q'"),
    (["--t", "3"], "at t=3; one of W_f"), (["--seed", "-1"], "--seed -1"),
])  # fmt: skip
def test_what_the_command_cannot_do_is_told(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["paths", *words]) == 2
    assert says in capsys.readouterr().err
