"""Recurrent nets: a cell, run over whole sequences.

A cell is one step, ``cell(x_t, state) -> state``, in the paper's columns: features first, the
batch last.  What a net adds to the step is a step again, around it: `counted` (names),
`dropped` (what the gates read), `zoned` (what is kept by chance), `frozen` (past the end).
`Recurrent` makes layers, directions and PyTorch's shapes of them, once for the LSTM, the GRU,
the simple RNN and a cell of your own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError, DtypeError, ShapeError, lesson
from minigrad.nn import Module, Parameter

Columns = list[Tensor]
Step = Callable[[Any, Any], Any]
Name = Callable[[Tensor, str], Tensor]


def parts(state: Any) -> tuple[Any, ...]:
    """The parts of a state; a state of one part (GRU) stands for itself."""
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def joined(found: Iterable[Any]) -> Any:
    """The state of these parts."""
    found = tuple(found)
    return found if len(found) > 1 else found[0]


def detached(state: Any) -> Any:
    """A state as a constant, to carry on with where the gradient shall stop: truncated
    backpropagation through time."""
    return joined(part.detach() for part in parts(state))


def beside(b: Tensor, columns: Tensor) -> Tensor:
    """A vector to be added or multiplied: with a batch in columns it is a column too."""
    return b.reshape(-1, 1) if columns.ndim == 2 else b


# --- a cell ------------------------------------------------------------------------------


class Cell(Module):
    """One step of a recurrent net: a subclass says in ``__init__`` what is learnt, and in `equations`
    what is computed.

    Parameters
    ----------
    n_x, n_a : int
    sizes : dict of str to int
        The parts of the state and their rows; the first is the output.
    shapes : dict of str to tuple of int
        The parameters, each drawn from U(±1/√n_a) as PyTorch does.
    dtype : dtype
    rng : numpy.random.Generator, optional
    scope : str
        Put before every name, for instance ``layer1/``.
    """

    if TYPE_CHECKING:  # the parameters, by the names in `shapes`

        def __getattr__(self, name: str) -> Tensor: ...

    def __init__(self, n_x: int, n_a: int, sizes: dict[str, int], shapes: dict[str, tuple[int, ...]], *,
                 dtype: Any = np.float32, rng: np.random.Generator | None = None, scope: str = "") -> None:  # fmt: skip
        if n_x < 1 or n_a < 1:
            raise ArgumentError(lesson(type(self).__name__, f"n_x={n_x}, n_a={n_a}", "positive sizes"))
        rng = np.random.default_rng(rng)
        self.n_x, self.n_a, self.sizes, self.scope = n_x, n_a, sizes, scope
        k = 1 / np.sqrt(n_a)
        for name, shape in shapes.items():
            setattr(self, name, Parameter(rng.uniform(-k, k, shape), dtype, name=scope + name))

    def equations(self, x_t: Tensor, seen: Tensor, state: Any, name: Name) -> Any:
        """The next state.

        Parameters
        ----------
        x_t : Tensor
        seen : Tensor
            a<t-1> as the gates see it: the state's own, or what dropout left of it.
        state : tuple of Tensor, or a Tensor
        name : callable
            ``name(stage, "c")`` calls a stage ``c<t>`` where names are asked for, and returns it.
        """
        kind = type(self).__name__
        raise ArgumentError(lesson(kind, "it has no equations", "", f"class {kind}: def equations(self, x_t, seen, state, name): ..."))

    def forward(self, x_t: Any, state: Any, t: int | None = None, seen: Tensor | None = None) -> Any:
        """One step.

        Parameters
        ----------
        x_t : array or Tensor, shape (n_x, B) or (n_x,)
        state : tuple of arrays, or one array where the state has one part
            Each of shape (size, B) or (size,).
        t : int, optional
            Name the nodes of this step: ``x<t>``, ``a<t>``, ...
        seen : Tensor, optional
            What the gates see in place of a<t-1>: a dropout.

        Returns
        -------
        The next state, like `state`.
        """
        if t is None:
            return self._step(x_t, state, None, seen)
        with mg.record_all():  # z<1> joins two constants, and is a stage all the same
            return self._step(x_t, state, t, seen)

    def _step(self, x_t: Any, state: Any, t: int | None, seen: Tensor | None) -> Any:
        x_t, *old = self._columns(x_t, *parts(state))
        if t is not None:
            x_t = _under(x_t, f"{self.scope}x<{t}>")
            old = [_under(value, f"{self.scope}{label}<{t - 1}>")
                   for value, label in zip(old, self.sizes, strict=True)]  # fmt: skip

        def name(stage: Tensor, label: str) -> Tensor:
            return stage if t is None else stage.named(f"{self.scope}{label}<{t}>")

        return self.equations(x_t, old[0] if seen is None else seen, joined(old), name)

    def _columns(self, *given: Any) -> list[Tensor]:
        """x<t> and the state as tensors whose shapes fit: a state of one column would
        otherwise be broadcast over a batch in silence."""
        tensors = [v if isinstance(v, Tensor) else mg.tensor(v) for v in given]
        rows, batch = (self.n_x, *self.sizes.values()), tensors[0].shape[1:]
        if len(batch) > 1 or [v.shape for v in tensors] != [(n, *batch) for n in rows]:
            raise ShapeError(lesson(
                type(self).__name__, f"{', '.join(('x_t', *self.sizes))} have shapes "
                f"{', '.join(str(v.shape) for v in tensors)}",
                f"features first: {', '.join(f'({n}, B)' for n in rows)}, the same B, or no B for "
                "one sequence", "write x_t.T if your batch comes first"))  # fmt: skip
        return tensors


def _under(value: Tensor, name: str) -> Tensor:
    """`value` under the paper's name; what has another name already keeps it."""
    if value.name is None or value.name == name:
        return value.named(name)
    return mg.positive(value).named(name)


# --- what a net adds to a step -----------------------------------------------------------


def counted(cell: Step) -> Step:
    """The step with names: ``a<1>``, ``a<2>``, ... in the order of the steps."""
    times = count(1)
    return lambda x_t, state: cell(x_t, state, t=next(times))  # type: ignore[call-arg]


def dropped(cell: Step, x_mask: Tensor, a_mask: Tensor) -> Step:
    """The step whose gates read x<t> and a<t-1> through masks that stay the same at every
    step (Gal and Ghahramani 2016); what else the cell does with a<t-1> is left alone."""

    def step(x_t: Any, state: Any) -> Any:
        return cell(x_t * x_mask, state, seen=parts(state)[0] * a_mask)  # type: ignore[call-arg]

    return step


def zoned(step: Step, rates: Sequence[float], rng: np.random.Generator | None) -> Step:
    """The step that keeps each number of the old state with probability `rate`, one for each
    part; without a generator it takes the expectation (zoneout, Krueger et al. 2017)."""

    def kept(old: Tensor, new: Tensor, rate: float) -> Tensor:
        if not rate:
            return new
        if rng is None:
            return rate * old + (1 - rate) * new
        return mg.where(mg.dropout(mg.ones_like(new), rate, rng=rng) == 0, old, new)

    return lambda x_t, state: joined(map(kept, parts(state), parts(step(x_t, state)), rates))


def frozen(step: Step, going: Iterable[Tensor]) -> Step:
    """The step that leaves the state as it is where `going`, (1, B) for each step, is False."""
    rows = iter(going)

    def kept(x_t: Any, state: Any) -> Any:
        row = next(rows)
        return joined(mg.where(row, new, old)
                      for old, new in zip(parts(state), parts(step(x_t, state)), strict=True))  # fmt: skip

    return kept


def _options(kind: Any) -> list[str]:
    """The names of the options that a class takes by keyword, those that it hands on included."""
    makers = [vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base) and base is not object]
    taken = [p for make in makers for p in inspect.signature(make).parameters.values()]
    return [p.name for p in taken if p.name != "scope" and (p.kind is p.KEYWORD_ONLY or p.default is not p.empty)]


# --- a net -------------------------------------------------------------------------------


class Recurrent(Module):
    """A cell over whole sequences, in layers and directions; PyTorch's shapes outside.

    ``class Net(Recurrent): cell = MyCell`` is a net of your own: ``MyCell(n_x, n_a, dtype=, rng=,
    scope=)`` makes a `Cell`, or any Module with ``n_x``, ``sizes`` and
    ``forward(x_t, state) -> state``.

    Parameters
    ----------
    n_x, n_a : int
    layers : int
        Layer k > 0 reads the outputs of layer k − 1.
    bidirectional : bool
        A second net reads each sequence from its end; a layer's output is [forward, reverse].
    batch_first : bool
        Inputs and outputs are (B, T, n), as `mask` is (B, T); states are not touched.
    dropout : float
        In training, the probability that a number between two layers is dropped.
    variational : bool
        The dropout masks are drawn once for a sequence, not at each step, and stand before
        all that a layer reads: the inputs x<t>, layer 0's too, and its own a<t-1>.
    zoneout : float or tuple of float
        The probability that a number of the state stays as it was; a tuple gives one for each part,
        (a, c) for the LSTM.  In evaluation the state is the expectation.
    initial : {"zeros", "trained", "noisy"}
        The state before the first step where the caller gives none: zeros; parameters
        ``a_0``, ``c_0`` of shape (layers · directions, n), one for all sequences of a batch; or
        drawn from N(0, noise²) at every call while training (zeros in evaluation).
    noise : float
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws the parameters, masks and noisy states.
    **options
        For the cell.

    Attributes
    ----------
    cells, back_cells : list of Cell
        ``cells[k]`` holds layer k's parameters, ``back_cells[k]`` those of the reverse direction.
    sizes : dict of str to int
        The parts of the state and their sizes.
    n_out : int
        Numbers of an output, both directions together.
    """

    cell: ClassVar[Any] = None

    def __init__(self, n_x: int, n_a: int, *, layers: int = 1, bidirectional: bool = False,
                 batch_first: bool = False, dropout: float = 0.0, variational: bool = False,
                 zoneout: float | tuple[float, ...] = 0.0,
                 initial: Literal["zeros", "trained", "noisy"] = "zeros", noise: float = 0.1,
                 dtype: Any = np.float32, rng: np.random.Generator | None = None, **options: Any) -> None:  # fmt: skip
        refuse = self._refuse
        if self.cell is None:
            raise refuse("it has no cell", "a class", "class Net(Recurrent): cell = MyCell")
        unknown = options.keys() - _options(self.cell)
        if unknown:
            known = [*_options(Recurrent), *_options(self.cell)]
            raise refuse(f"unknown option {', '.join(sorted(unknown))}", f"one of {', '.join(dict.fromkeys(known))}")
        if layers < 1:
            raise refuse(f"layers={layers}", "at least 1")
        if initial not in ("zeros", "trained", "noisy"):
            raise refuse(f"initial={initial!r}", "'zeros', 'trained' or 'noisy'")
        if not 0 <= dropout < 1:
            raise refuse(f"dropout={dropout!r}", "0 <= dropout < 1")
        if dropout and layers == 1 and not variational:
            raise refuse(f"dropout={dropout} with one layer", "dropout stands between layers, and there is nothing "
                         "between", "write layers=2, or variational=True to drop what the layer reads")  # fmt: skip
        self.n_x, self.n_a, self.batch_first, self.initial, self.noise = n_x, n_a, batch_first, initial, noise
        self.dropout, self.variational = dropout, variational
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(rng)
        self.cells: list[Any] = []
        self.back_cells: list[Any] = []
        for k in range(layers):
            n_in, scope = self.n_out if k else n_x, f"layer{k}/" if layers > 1 else ""
            for cells, way in ((self.cells, ""), (self.back_cells, "reverse/"))[: 1 + bidirectional]:
                cells.append(self.cell(n_in, n_a, dtype=dtype, rng=self.rng, scope=scope + way, **options))
        rates = parts(zoneout)
        self.zoneout = rates if len(rates) > 1 else rates * len(self.sizes)
        if len(self.zoneout) != len(self.sizes) or not all(0 <= rate < 1 for rate in self.zoneout):
            raise refuse(f"zoneout={zoneout!r}", "0 <= zoneout < 1: one number, or one for each of "
                         f"({', '.join(self.sizes)})")  # fmt: skip
        if variational and dropout and "seen" not in inspect.signature(self.cells[0].forward).parameters:
            raise refuse(f"variational dropout of what {self.cell.__name__} reads",
                         "a cell that takes `seen`, what its gates see of a<t-1>", "derive it from Cell")  # fmt: skip
        if initial == "trained":
            for name, n in self.sizes.items():
                setattr(self, f"{name}_0", Parameter(np.zeros((self._rows, n)), dtype))

    @property
    def sizes(self) -> dict[str, int]:
        found: dict[str, int] = self.cells[0].sizes
        return found

    @property
    def n_out(self) -> int:
        return next(iter(self.sizes.values())) * (2 if self.back_cells else 1)

    def forward(self, x: Any, state: Any = None, named: bool = False, lengths: Any = None,
                mask: Any = None) -> tuple[Tensor, Any]:  # fmt: skip
        """Run the sequences.

        Parameters
        ----------
        x : array or Tensor, shape (T, B, n_x), or (B, T, n_x) with `batch_first`
        state : tuple of arrays, or one array where the state has one part; optional
            The state before the first step, each part (layers · directions, B, size), in PyTorch's
            order: layer 0 forward, layer 0 reverse, layer 1 forward, ...  For one layer in one
            direction (B, size) will do.
        named : bool
            Run the cell step by step, each node under its name in the paper; names of the reverse
            direction count its own steps: ``reverse/x<1>`` is x<T>.
        lengths : array of int, shape (B,), optional
            How many steps of each sequence there are.  Past its end a state stays as it is, so that
            the last state is the one at the last step there is; outputs are 0, and what stands in
            `x` does not count, NaN included.  The reverse direction begins at each sequence's own
            end.  PyTorch's packed sequences give the same values and gradients.
        mask : array, shape (T, B), or (B, T) with `batch_first`; optional
            Where it is 0 the state stays as it is, and the output is that of the step before (in
            the reverse direction, behind), as in Keras.

        Returns
        -------
        outputs : Tensor, shape (T, B, directions · n_out), or (B, T, ...) with `batch_first`
            a<1> ... a<T> of the last layer.
        state : tuple of Tensor, or a Tensor
            After the last step, in the shape of `state`, (layers · directions, B, size) if none
            was given.
        """
        x = self._sequences(x)
        T, B, _ = x.shape
        valid, going = self._steps_there_are(T, B, lengths, mask)
        if named and (going is not None or self._adds):
            raise self._refuse("named=True with lengths, mask, zoneout or variational dropout",
                               "names are for the plain cell", "leave one of them out")  # fmt: skip
        if going is not None:
            x = mg.where(going.reshape(T, B, 1), x, 0.0)
        rows = None if going is None else list(mg.unstack(going.reshape(T, 1, B)))
        states = self._initial(state, B)
        columns = list(mg.unstack(mg.permute_dims(x, (0, 2, 1))))  # x<t> in columns, (n_x, B)
        last = []
        for k, cell in enumerate(self.cells):
            columns = self._between(columns) if k else columns
            ahead, end = self._pass(cell, columns, next(states), rows, named)
            last.append(end)
            if self.back_cells:
                back, end = self._pass(self.back_cells[k], columns[::-1], next(states), rows and rows[::-1], named)
                last.append(end)
                ahead = [mg.concat(both) for both in zip(ahead, back[::-1], strict=True)]
            columns = ahead
        outputs = mg.permute_dims(mg.stack(columns), (0, 2, 1))
        if valid is not None:
            outputs = mg.where(valid.reshape(T, B, 1), outputs, 0.0)
        return self._outside(outputs), self._final(last, state)

    def unroll(self, x: Any, steps: int, state: Any = None,
               feed: Callable[[Tensor], Any] | None = None) -> tuple[Tensor, Any]:  # fmt: skip
        """One to many: from one input, `steps` outputs, each of them fed back as the next input.

        Parameters
        ----------
        x : array or Tensor, shape (B, n_x)
            The first input.
        steps : int
        state : optional
            As in `forward`.
        feed : callable, optional
            From the output a<t>, (B, n_out), to the next input, (B, n_x); without it the output
            itself is the input.

        Returns
        -------
        outputs, state
            As of `forward`.
        """
        if self.back_cells:
            raise self._refuse("unroll of a bidirectional net", "its reverse direction begins at an end that is not there")
        if feed is None and self.n_out != self.n_x:
            raise self._refuse(f"an output of {self.n_out} numbers as an input of {self.n_x}", "equal sizes, or "
                               "feed=, a function from an output to the next input")  # fmt: skip
        if steps < 1:
            raise self._refuse(f"steps={steps}", "at least 1")
        a = self._column(x)
        states = list(self._initial(state, a.shape[1]))
        layers = [self._step(cell, a.shape[1]) for cell in self.cells]
        outputs: Columns = []
        for _ in range(steps):
            if outputs:
                a = self._column(feed(outputs[-1]) if feed else outputs[-1])
            for k, step in enumerate(layers):
                if k:
                    (a,) = self._between([a])
                states[k] = step(a, states[k])
                a = parts(states[k])[0]
            outputs.append(mg.permute_dims(a, (1, 0)))
        return self._outside(mg.stack(outputs)), self._final(states, state)

    # --- the parts of a run ---

    def _pass(self, cell: Any, xs: Columns, state: Any, going: list[Tensor] | None,
              named: bool) -> tuple[Columns, Any]:  # fmt: skip
        """One layer in one direction."""
        step = counted(cell) if named else self._step(cell, xs[0].shape[1])
        if going is not None:
            step = frozen(step, going)
        return self._run(step, xs, state)

    def _run(self, step: Step, xs: Columns, state: Any) -> tuple[Columns, Any]:
        outputs = []
        for x_t in xs:
            state = step(x_t, state)
            outputs.append(parts(state)[0])
        return outputs, state

    def _step(self, cell: Any, batch: int) -> Step:
        """The step of a cell with what this net adds to it; the cell itself if that is nothing."""
        step: Step = cell
        if self.variational and self.dropout and self.training:
            ones = (np.ones((n, batch), self.dtype) for n in (cell.n_x, next(iter(self.sizes.values()))))
            step = dropped(cell, *(mg.dropout(each, self.dropout, rng=self.rng) for each in ones))
        if any(self.zoneout):
            step = zoned(step, self.zoneout, self.rng if self.training else None)
        return step

    @property
    def _adds(self) -> bool:
        """Whether steps are more than the cell."""
        return any(self.zoneout) or bool(self.variational and self.dropout and self.training)

    def _between(self, columns: Columns) -> Columns:
        """What a layer gives, as the next one gets it."""
        if self.variational or not self.dropout or not self.training:
            return columns
        return list(mg.unstack(mg.dropout(mg.stack(columns), self.dropout, rng=self.rng)))

    # --- from PyTorch's shapes to columns, and back ---

    @property
    def _rows(self) -> int:
        """How many states there are: layers · directions."""
        return len(self.cells) + len(self.back_cells)

    def _refuse(self, *given: str) -> ArgumentError:
        return ArgumentError(lesson(type(self).__name__, *given))

    def _sequences(self, x: Any) -> Tensor:
        """The inputs, (T, B, n_x)."""
        shape, time = np.shape(x), int(self.batch_first)
        if len(shape) != 3 or shape[2] != self.n_x or shape[time] < 1:
            axes = "(B, T, " if time else "(T, B, "
            raise ShapeError(lesson(type(self).__name__, f"x has shape {shape}", f"{axes}{self.n_x}), T >= 1"))
        x = x if isinstance(x, Tensor) else mg.tensor(x)
        return mg.permute_dims(x, (1, 0, 2)) if time else x

    def _column(self, x: Any) -> Tensor:
        """One input (B, n_x), in columns."""
        if np.ndim(x) != 2 or np.shape(x)[1] != self.n_x:
            raise ShapeError(lesson(f"{type(self).__name__}.unroll", f"an input of shape {np.shape(x)}", f"(B, {self.n_x})"))
        return mg.permute_dims(x, (1, 0))

    def _outside(self, outputs: Tensor) -> Tensor:
        return mg.permute_dims(outputs, (1, 0, 2)) if self.batch_first else outputs

    def _steps_there_are(self, T: int, B: int, lengths: Any, mask: Any) -> tuple[Tensor | None, Tensor | None]:
        """Which steps are no padding, and at which the state goes on: (T, B), None where all."""
        valid = going = None
        name = type(self).__name__
        if lengths is not None:
            if np.shape(lengths) != (B,):
                raise ShapeError(lesson(name, f"lengths of shape {np.shape(lengths)}", f"({B},), one for each sequence"))
            traced = isinstance(lengths, Tensor)  # its values may be others at the next replay
            if (lengths.dtype if traced else np.asarray(lengths).dtype).kind not in "iu":
                raise DtypeError(lesson(name, "lengths that are no integers", "a number of steps for each sequence"))
            if not traced and not all(0 <= n <= T for n in lengths):
                raise ArgumentError(lesson(name, f"lengths {list(map(int, lengths))}", f"0 to {T}, the steps of x"))
            valid = going = mg.arange(T).reshape(T, 1) < (lengths if traced else np.asarray(lengths))
        if mask is not None:
            wanted = (B, T) if self.batch_first else (T, B)
            if np.shape(mask) != wanted:
                raise ShapeError(lesson(name, f"a mask of shape {np.shape(mask)}", f"{wanted}"))
            there = (mask if isinstance(mask, Tensor) else mg.tensor(mask)) != 0
            there = mg.permute_dims(there, (1, 0)) if self.batch_first else there
            going = there if valid is None else mg.logical_and(valid, there)
        return valid, going

    def _initial(self, state: Any, batch: int) -> Any:
        """An iterator of the states before the first step, in columns."""
        rows = [mg.unstack(mg.permute_dims(part, (0, 2, 1))) for part in self._parts_before(state, batch)]
        return map(joined, zip(*rows, strict=True))

    def _parts_before(self, state: Any, batch: int) -> list[Any]:
        """The parts of the state before the first step, each (layers · directions, B, size)."""
        shapes = {name: (self._rows, batch, n) for name, n in self.sizes.items()}
        if state is None:
            if self.initial == "trained":
                return [mg.broadcast_to(getattr(self, f"{name}_0").reshape(self._rows, 1, shape[2]), shape)
                        for name, shape in shapes.items()]  # fmt: skip
            if self.initial == "noisy" and self.training:
                return [self.noise * mg.normal(shape, dtype=self.dtype, rng=self.rng) for shape in shapes.values()]
            return [np.zeros(shape, self.dtype) for shape in shapes.values()]
        given = parts(state)
        if len(given) != len(shapes):
            raise self._refuse(f"a state of {len(given)} part(s)", f"{', '.join(f'{name}0' for name in shapes)}")
        out = []
        for part, (name, shape) in zip(given, shapes.items(), strict=True):
            part = part if isinstance(part, Tensor) else mg.tensor(part)
            if part.shape == shape[1:] and shape[0] == 1:
                part = part.reshape(shape)
            if part.shape != shape:
                raise ShapeError(lesson(type(self).__name__, f"{name}0 has shape {part.shape}", f"{shape}" + (
                    f" or {shape[1:]}" if shape[0] == 1 else "")))  # fmt: skip
            out.append(part)
        return out

    def _final(self, last: list[Any], like: Any) -> Any:
        """The states after the last step, in the shape of those that were given."""
        found = [mg.permute_dims(mg.stack(part), (0, 2, 1)) for part in zip(*map(parts, last), strict=True)]
        flat = like is not None and np.ndim(parts(like)[0]) == 2
        return joined(part[0] if flat else part for part in found)
