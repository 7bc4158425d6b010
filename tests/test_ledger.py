"""The ledger: what meets at a fork, each part by itself, to the bit."""

from functools import reduce
from operator import add

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing.programs import draw_program
from models import LSTMCell


@pytest.fixture
def block_of_four(rng):
    """An LSTM of four named steps, loss at every step, and its parameters."""
    cell = LSTMCell(3, 4, dtype=np.float64, rng=rng)
    a, c = (mg.tensor(rng.normal(size=(4, 2)), requires_grad=True) for _ in range(2))
    loss = mg.tensor(0.0)
    for t in range(1, 5):
        a, c = cell(rng.normal(size=(3, 2)), (a, c), t=t)
        loss = loss + mg.squared_error(a, rng.normal(size=(4, 2)))
    return cell, loss


def test_the_two_branches_of_the_cell_state(block_of_four):
    _, loss = block_of_four
    found = mg.ledger(loss, wrt="c<2>")
    assert [e.via for e in found] == ["c<3>", "tanh_c<2>"]
    assert [e.stage for e in found] == ["multiply", "tanh"]
    assert sum(e.share for e in found) == pytest.approx(1)
    assert "gradient of c<2>, shape (4, 2): 2 contribution(s)" in str(found)
    assert "via c<3>" in str(found)


def test_a_weight_has_a_contribution_for_each_time_step(block_of_four):
    cell, loss = block_of_four
    found = mg.ledger(loss, wrt=cell.W_f)
    assert [e.via for e in found] == ["sum_f<4>", "sum_f<3>", "sum_f<2>", "sum_f<1>"]
    loss.backward()
    np.testing.assert_array_equal(found.gradient, cell.W_f.grad.data)
    np.testing.assert_array_equal(reduce(add, [e.array for e in found]), cell.W_f.grad.data)


def test_a_value_used_twice_by_one_stage():
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = (x * x).named("y").sum()
    assert [e.via for e in mg.ledger(y, "x")] == ["y", "y #2"]
    assert [e.share for e in mg.ledger(y, x)] == [0.5, 0.5]


def test_added_in_its_order_it_is_the_gradient_to_the_bit():
    for seed in range(60):
        program = draw_program(np.random.default_rng(seed))
        leaves = [mg.tensor(x, requires_grad=True) for x in program.leaves()]
        y = program(*leaves)
        books = [mg.ledger(y, x) for x in leaves]
        y.backward()
        for x, book in zip(leaves, books, strict=True):
            if x.grad is not None:
                assert book.gradient.tobytes() == x.grad.data.tobytes()
                assert np.asarray(reduce(add, [e.array for e in book])).tobytes() == x.grad.data.tobytes()


def test_what_is_asked_wrongly_is_told():
    x = mg.tensor([1.0], requires_grad=True, name="x")
    with pytest.raises(mg.MinigradError, match="no node of this graph is called 'z'; one of x"):
        mg.ledger(x.sum(), "z")
    with pytest.raises(mg.MinigradError, match="requires no gradient"):
        mg.ledger(x.sum(), mg.tensor(1.0))
    y = x.sum()
    y.backward()
    with pytest.raises(mg.MinigradError, match="freed"):
        mg.ledger(y, x)
