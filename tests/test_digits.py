"""Orders 1 and 2 of every op by an exact method: that of `check_grads`, or two hundred digits."""

import checks
import digits
import numpy as np
import pytest

from minigrad.op import OPS

TOLERANCE = 2e-14


def apart(op):
    """How far the engine's value, first and second derivative are off at most."""
    found = [digits.held(op, inputs, params, checks.rng_of(op, 20)) for inputs, params in checks.samples_of(op)
             if all(np.size(x) for x in inputs)]  # fmt: skip
    return np.max(found, axis=0)


@pytest.mark.parametrize("name", digits.EXACT)
def test_two_derivatives_to_the_last_digits(name):
    assert np.all(apart(OPS[name]) < TOLERANCE)


@pytest.mark.parametrize("name", digits.EXACT)
def test_an_error_of_1e_13_in_any_rule_is_seen(name):
    op = OPS[name]
    for i in [0] if op.variadic else range(len(op.rules)):
        value, first, _ = apart(checks.slightly_off(op, i, 1 + 1e-13))
        assert first > TOLERANCE, f"the rule of input {i}"
        assert value < TOLERANCE
