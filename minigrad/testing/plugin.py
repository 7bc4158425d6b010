"""The pytest plugin: gradient checks in one line, with seeds that print.

It is there wherever minigrad is installed, and does nothing until it is asked.  A function
marked `gradcheck` says what to check, and needs no assertion::

    @pytest.mark.gradcheck
    def test_gate(gradcheck):
        W, x = gradcheck.rng.normal(size=(3, 4)), gradcheck.rng.normal(size=4)
        return lambda W, x: mg.sigmoid(W @ x), W, x

    @pytest.mark.gradcheck(order=3)
    @pytest.mark.parametrize("n", [0, 1, 5])
    def test_norm(n):
        return mg.linalg.norm, np.arange(1.0, n + 1)

    @pytest.mark.gradcheck
    def test_my_op():
        return my_op  # everything that a rule must satisfy: check_op

The fixture of the same name checks in the midst of a test, and draws inputs::

    def test_both(gradcheck):
        x = gradcheck.rng.normal(size=(2, 3))
        gradcheck(f, x)
        gradcheck(np.tanh, x, order=4)
        gradcheck.op(my_op)

Each test has a seed of its own, made from its name, so that a test is the same today and
tomorrow, alone and among others.  A failure prints it; ``--gradcheck-seed N`` runs with
another one and ``--gradcheck-seed random`` with a new one each time.  A failure shows the
census of wrong entries and no frames of the checker.
"""

from __future__ import annotations

import inspect
import secrets
import zlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import pytest

from ..op import Op
from .case import Samples
from .check import check_grads
from .opcheck import OpReport, check_op
from .report import GradientError, Report

SEED = pytest.StashKey[int]()


class GradCheck:
    """What the fixture `gradcheck` gives: checks with the seed of the test.

    Attributes
    ----------
    seed : int
    rng : numpy.random.Generator
        Draws inputs; made from the seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def __call__(self, f: Callable[..., Any], *args: Any, order: int = 2, names: Sequence[str] | None = None) -> Report:
        """`check_grads` of `f` at `args`."""
        __tracebackhide__ = True
        return _shortly(check_grads, f, *args, order=order, seed=self.seed, names=names)  # type: ignore[no-any-return]

    def op(self, op: Any, samples: Samples | None = None, *, order: int = 2) -> OpReport:
        """`check_op` of `op`."""
        __tracebackhide__ = True
        return _shortly(check_op, op, samples, order=order, seed=self.seed)  # type: ignore[no-any-return]


def _shortly(check: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """The check's verdict, or its census without the way that led to it."""
    __tracebackhide__ = True
    try:
        return check(*args, **options)
    except GradientError as error:
        failure = error
    raise failure.with_traceback(None) from None


# --- hooks ----------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("minigrad", "gradient checks").addoption(
        "--gradcheck-seed", default="test", metavar="N|random",
        help="seed of the gradient checks: a number, 'random', or 'test' (the default): one made "
        "from each test's name")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "gradcheck(order=2, seed=None, names=None): check the derivatives of what the function returns: "
        "(f, *args), an op, or a list of these")  # fmt: skip
    given = config.getoption("--gradcheck-seed")
    if given not in ("test", "random") and not given.isdecimal():
        raise pytest.UsageError(f"--gradcheck-seed: got {given!r}; a number from 0, 'random' or 'test'")


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> GradCheck:
    """Check derivatives: ``gradcheck(f, *args)``, ``gradcheck.op(my_op)``; draw: ``gradcheck.rng``."""
    return GradCheck(_seed(request.node))


def _seed(item: Any) -> int:
    """The seed of a test, the same each time it is asked for."""
    if SEED not in item.stash:
        given = item.config.getoption("--gradcheck-seed")
        marker = item.get_closest_marker("gradcheck")
        fixed = marker.kwargs.get("seed") if marker else None
        item.stash[SEED] = (int(given) if given.isdecimal() else secrets.randbits(32) if given == "random"
                            else zlib.crc32(item.nodeid.encode()) if fixed is None else fixed)  # fmt: skip
    return item.stash[SEED]  # type: ignore[no-any-return]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark that would be ignored is an error, or it would pass for ever."""
    for item in items:
        if item.get_closest_marker("gradcheck") and type(item) is not pytest.Function:
            raise pytest.UsageError(
                f"{item.nodeid}: the mark gradcheck is for test functions, not for {type(item).__name__}; "
                "call check_grads(f, *args) in the test")  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a marked function and check what it returns."""
    __tracebackhide__ = True
    marker = pyfuncitem.get_closest_marker("gradcheck")
    if marker is None:
        return None
    names = pyfuncitem._fixtureinfo.argnames
    given = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    options = {k: v for k, v in marker.kwargs.items() if k != "seed"}
    if marker.args or options.keys() - {"order", "names"}:
        pytest.fail(f"gradcheck takes order=, seed= and names=, got {marker.args} {marker.kwargs}", pytrace=False)
    check = GradCheck(_seed(pyfuncitem))
    for task in given if isinstance(given, list) and given else [given]:
        _run(check, task, options)
    return True


def _run(check: GradCheck, task: Any, options: dict[str, Any]) -> None:
    __tracebackhide__ = True
    f, *args = task if isinstance(task, tuple) and task else (task,)
    if not args and isinstance(getattr(f, "op", f), Op):
        check.op(f, order=options.get("order", 2))
    elif args and callable(f) and not inspect.iscoroutine(f):
        check(f, *args, **options)
    else:
        pytest.fail(f"a function marked gradcheck returns (f, *args), an op or a list of these; it returned {task!r:.80}",
                    pytrace=False)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Print the seed of a test that failed; of a marked one, nothing but the census beside it."""
    report = yield
    if report.failed and SEED in item.stash:
        if item.get_closest_marker("gradcheck"):
            for traceback, *_ in getattr(report.longrepr, "chain", ()):
                if (traceback.extraline or "").startswith("All traceback entries are hidden"):
                    traceback.extraline = None
        seed = item.stash[SEED]
        report.sections.append(
            ("gradcheck", f"seed {seed}; once more: pytest '{item.nodeid}' --gradcheck-seed {seed}"))  # fmt: skip
    return report
