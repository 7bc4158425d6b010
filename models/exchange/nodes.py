"""The model that recurrent nodes of an ONNX graph are.

What lies between the nodes of a stack (a transposition, a reshaping, a dropout) is recognised by
what it does: it is run on distinct numbers, so every exporter's way of writing it is
understood, and nothing else is mistaken for it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, CheckpointError, lesson

from .arrays import Array, common_dtype, library, plain
from .files import read_bytes
from .graphs import INPUTS, LAYOUT, PEEPHOLES, WHY
from .layouts import Weights, model_of

ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}


def from_onnx(source: Any, node: str | None = None, *, dtype: Any = None, **options: Any) -> Any:
    """The model that the LSTM, GRU or RNN nodes of an ONNX graph are.

    Nodes that feed each other are the layers of one model; what the graph does before and after
    them is left alone.  An initial state that the graph makes of zeros is zeros; one of
    other constants becomes the model's learnt one; one that depends on the graph's inputs, and the
    lengths of the sequences, are to be given to the model when it is called.

    Parameters
    ----------
    source : path-like or onnx.ModelProto
    node : str, optional
        The name of a node of the stack that is meant, where the graph has several stacks.
    dtype : dtype, optional
        Of the model; by default the arrays' own, as in `from_torch`.
    **options
        For the model's constructor.  ``batch_first`` is true, unless given, if the nodes have
        ``layout=1`` or what they read was transposed for them.

    Returns
    -------
    LSTM, GRU or RNN; a PeepholeLSTM if there are peepholes, a CoupledLSTM if ``input_forget=1``

    Raises
    ------
    ArgumentError
        No such node, several stacks and no `node`, or nodes with attributes or inputs that the
        model has no place for: all of them are named.
    CheckpointError
        The file cannot be read.
    """
    onnx = library("onnx", "from_onnx", WHY)
    stack = _chosen(_stacks(_Graph(onnx, _loaded(onnx, source))), node)
    problems = [f"node {each.name!r}: {problem}" for each in stack for problem in each.problems]
    if not problems and len({each.lengths for each in stack}) > 1:
        problems = ["sequence_lens: not the same for all layers"]
    if problems:
        raise ArgumentError(lesson("from_onnx", "; ".join(problems), "nothing was imported"))
    first = stack[0]
    learnt = _learnt(stack)
    found: dict[str, Any] = {"batch_first": first.batch_first} | ({"initial": "trained"} if learnt else {})
    if first.kind == "RNN":
        found["nonlinearity"] = first.activations[0]
    arrays = {f"{name} of {each.name}": a for each in stack for name, a in each.arrays.items() if a is not None}
    model = model_of(first.kind, [each.weights for each in stack], common_dtype(arrays, dtype, "from_onnx"), **found | options)
    for name, value in learnt.items():
        getattr(model, name).data = value.astype(model.dtype)
    return model


def _loaded(onnx: Any, source: Any) -> Any:
    """The graph, with functions that a model defines for itself written out."""
    if not isinstance(source, (str, os.PathLike)):
        if not isinstance(source, onnx.ModelProto):
            raise ArgumentError(lesson("from_onnx", f"got a {type(source).__name__}", "an onnx.ModelProto, or the path of a file"))
        return library("onnx.inliner", "from_onnx", WHY).inline_local_functions(source) if source.functions else source
    try:
        model = onnx.load_model_from_string(read_bytes(Path(source)))
        onnx.load_external_data_for_model(model, str(Path(source).parent))
        if not model.opset_import:
            raise ValueError("it does not say which operators it uses")
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(lesson("from_onnx", f"{source}: {error}", "a whole ONNX file")) from None
    return _loaded(onnx, model)


class _Graph:
    """Questions to a graph: what a value is, and what it depends on."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx, self.model = onnx, model
        self.nodes = list(model.graph.node)
        self.maker = {out: node for node in self.nodes for out in node.output if out}
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = {each.name: each for each in model.graph.input if each.name not in self.initializers}

    def upstream(self, name: str, given: Collection[str] = ()) -> tuple[list[Any], set[str]]:
        """The nodes that a value is computed by, back to the values in `given`, and the names at
        which the way back ends: of those, of inputs of the graph."""
        seen, todo, nodes, ends = {""}, [name], set[int](), set[str]()
        while todo:
            here = todo.pop()
            if here in seen or here in self.initializers and here not in given:
                continue
            seen.add(here)
            node = None if here in given else self.maker.get(here)
            if node is None:
                ends.add(here)
            else:
                nodes.add(id(node))
                todo += node.input
        return [node for node in self.nodes if id(node) in nodes], ends

    def evaluate(self, name: str, given: Mapping[str, Array]) -> Array:
        """A value, computed from the values in `given` and the graph's constants."""
        nodes, _ = self.upstream(name, given)
        if not nodes:
            return given[name] if name in given else self.onnx.numpy_helper.to_array(self.initializers[name])
        helper = self.onnx.helper
        used = {each for node in nodes for each in node.input}
        graph = helper.make_graph(
            nodes, "part", [self.onnx.ValueInfoProto(name=each) for each in given], [self.onnx.ValueInfoProto(name=name)],
            [tensor for each, tensor in self.initializers.items() if each in used and each not in given])  # fmt: skip
        part = helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
        (value,) = library("onnx.reference", "from_onnx", WHY).ReferenceEvaluator(part).run(None, dict(given))
        return np.asarray(value)

    def constant(self, name: str) -> Array | None:
        """A value that depends on no input of the graph but on their shapes, None for others."""
        shapes = [node.output[0] for node in self.nodes if node.op_type == "Shape"]
        if not self.upstream(name, shapes)[1] <= set(shapes):
            return None
        try:
            return plain(self.evaluate(name, self.some_inputs))
        except Exception as error:  # an operator that onnx cannot run
            raise ArgumentError(lesson("from_onnx", f"{name!r} is computed in a way that onnx cannot follow ({error})")) from None

    @cached_property
    def some_inputs(self) -> dict[str, Array]:
        """Zeros for every input of the graph; a size that is free is like no other."""
        sizes: dict[str, int] = {}

        def size(dim: Any, axis: int) -> int:
            return int(dim.dim_value) or sizes.setdefault(dim.dim_param or f"axis {axis}", 3 + len(sizes))

        types = {name: each.type.tensor_type for name, each in self.inputs.items()}
        return {name: np.zeros([size(dim, axis) for axis, dim in enumerate(each.shape.dim)],
                               self.onnx.helper.tensor_dtype_to_np_dtype(each.elem_type))
                for name, each in types.items()}  # fmt: skip

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """Sizes of values where they are known, 0 where not."""
        try:
            known = library("onnx.shape_inference", "from_onnx", WHY).infer_shapes(self.model).graph.value_info
        except Exception:  # more than onnx knows
            return {}
        return {each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in known}


class _Node:
    """A recurrent node: what it holds, and what of it the model has no place for."""

    def __init__(self, graph: _Graph, node: Any) -> None:
        self.graph, self.node, self.op = graph, node, node.op_type
        self.name = node.name or node.output[0] or node.output[1]
        read = graph.onnx.helper.get_attribute_value
        self.attributes = {each.name: read(each) for each in node.attribute}
        self.direction = self.attributes.get("direction", b"forward").decode()
        self.directions = 1 + (self.direction == "bidirectional")
        self.layout = self.attributes.get("layout", 0)
        names = [each.decode().lower() for each in self.attributes.get("activations", [])]
        self.activations = names or list(ACTIVATIONS[self.op]) * self.directions
        self.arrays: dict[str, Any] = {name: graph.constant(self.input(name)) if self.input(name) else None for name in ("W", "R", "B", "P")}

    def input(self, name: str) -> str:
        """The name of the value at an input; "" if there is none."""
        return str(dict(zip(INPUTS[self.op], self.node.input, strict=False)).get(name, ""))

    @property
    def kind(self) -> str:
        """The name of the model that computes the same."""
        if self.attributes.get("input_forget", 0):
            return "CoupledLSTM"
        P = self.arrays["P"]
        return "PeepholeLSTM" if P is not None and P.any() else self.op

    @property
    def sizes(self) -> tuple[int, int]:
        """n_x and n_a."""
        W, R = self.arrays["W"], self.arrays["R"]
        return (0, 0) if W is None or R is None or W.ndim != 3 or R.ndim != 3 else (W.shape[2], R.shape[2])

    @cached_property
    def lengths(self) -> str:
        """The name of the sequences' lengths; "" if there are none, or if they are that of `x`."""
        name, graph = self.input("sequence_lens"), self.graph
        fixed = graph.constant(name) if name else None
        if fixed is not None:
            try:
                T = graph.evaluate(self.input("X"), graph.some_inputs).shape[self.layout]
            except Exception:  # what is before the node cannot be run
                return name
            if (fixed == T).all() and graph.upstream(name)[1]:
                return ""
        return name

    @property
    def batch_first(self) -> bool:
        maker = self.graph.maker.get(self.input("X"))
        return self.layout == 1 or (maker is not None and maker.op_type == "Transpose"
                                    and list(maker.attribute[0].ints if maker.attribute else ()) == [1, 0, 2])  # fmt: skip

    @property
    def weights(self) -> tuple[Weights, ...]:
        W, R, B, P = self.arrays.values()
        B = np.zeros((self.directions, 2 * W.shape[1])) if B is None else B
        found = [LAYOUT.split(self.kind, w, r, *np.split(b, 2)) for w, r, b in zip(W, R, B, strict=True)]
        if self.kind == "PeepholeLSTM":
            looks = [dict(zip(PEEPHOLES, np.split(p, len(PEEPHOLES)), strict=True)) for p in P]
            found = [w._replace(peephole=each) for w, each in zip(found, looks, strict=True)]
        return tuple(found)

    @property
    def problems(self) -> list[str]:
        return [*self._misfits(), *self._unknown()]

    def _misfits(self) -> Iterator[str]:
        """Arrays that are no constants, or of shapes that do not fit."""
        wrong = [f"{name} is not a constant of the graph" for name, a in self.arrays.items() if self.input(name) and a is None]
        if wrong or not self.input("W") or not self.input("R"):
            yield from wrong or ["W or R is missing"]
            return
        n_x, n_a = self.sizes
        rows = len(LAYOUT.gates[self.kind]) * n_a
        needed = {"W": (self.directions, rows, n_x), "R": (self.directions, rows, n_a), "B": (self.directions, 2 * rows),
                  "P": (self.directions, len(PEEPHOLES) * n_a)}  # fmt: skip
        for name, a in self.arrays.items():
            if a is not None and (a.shape != needed[name] or not n_a):
                yield f"{name} has shape {a.shape}, needs {needed[name]}"
        if self.attributes.get("hidden_size", n_a) != n_a:
            yield f"hidden_size={self.attributes['hidden_size']}, but R has {n_a} columns"

    def _unknown(self) -> Iterator[str]:
        """Options that the model has not."""
        get = self.attributes.get
        usual = list(ACTIVATIONS[self.op])
        allowed = [usual, ["relu"]] if self.op == "RNN" else [usual]
        if self.activations not in [each * self.directions for each in allowed]:
            yield (f"activations={self.activations}: only {' or '.join(map(str, allowed))}"
                   + ", the same in both directions" * (self.directions == 2))  # fmt: skip
        if self.direction == "reverse":
            yield "direction='reverse': make it 'forward', import it, and give it sequences from end to beginning"
        if "clip" in self.attributes:
            yield f"clip={get('clip'):g}: sums are not clipped here"
        if get("input_forget", 0) and (self.arrays["P"] is not None and self.arrays["P"].any()):
            yield "input_forget=1 and P: a cell with one of them only"
        if self.op == "GRU" and not get("linear_before_reset", 0):
            yield "linear_before_reset=0: the reset gate acts before the product; ours, PyTorch's and Keras' after it"
        if self.lengths and self.graph.constant(self.lengths) is not None:
            yield "sequence_lens: lengths that are constants of the graph; make them an input"
        known = {"activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size", "input_forget",
                 "layout", "linear_before_reset", "output_sequence"}  # fmt: skip
        yield from (f"{name}: an attribute that is not known here" for name in self.attributes if name not in known)


def _stacks(graph: _Graph) -> list[list[_Node]]:
    """The recurrent nodes, those together that feed each other and nothing else."""
    nodes = [_Node(graph, node) for node in graph.nodes if node.op_type in INPUTS and node.domain in ("", "ai.onnx")]
    if not nodes:
        kinds = sorted({node.op_type for node in graph.nodes})
        raise ArgumentError(lesson("from_onnx", f"no {', '.join(INPUTS)} node: the graph has {', '.join(kinds) or 'none'}"))
    stacks: list[list[_Node]] = []
    for node in nodes:  # a graph's nodes are in the order of their computation
        below = next((stack for stack in stacks if _feeds(stack[-1], node)), None)
        if below is None:
            stacks.append([node])
        else:
            below.append(node)
    return stacks


def _feeds(below: _Node, node: _Node) -> bool:
    """Whether a node reads what the other gives, (T, B, directions · n_a), and nothing else."""
    n_x, n_a = below.sizes
    same = [(each.kind, each.layout, each.direction, each.sizes[1], tuple(each.activations)) for each in (below, node)]
    Y = below.node.output[0]
    if not n_x or same[0] != same[1] or node.sizes[0] != node.directions * n_a:
        return False
    if node.graph.upstream(node.input("X"), [Y])[1] != {Y}:
        return False
    known = node.graph.shapes.get(Y, [0, 0, 0, 0])
    if node.layout == 0:
        T, B = known[0] or 2, known[2] or 3
        shape, order = (T, node.directions, B, n_a), (0, 2, 1, 3)
    else:
        B, T = known[0] or 3, known[1] or 2
        shape, order = (B, T, node.directions, n_a), (0, 1, 2, 3)
    numbered = np.linspace(-0.9, 0.9, prod(shape)).reshape(shape).astype(below.arrays["W"].dtype)
    try:
        got = node.graph.evaluate(node.input("X"), {Y: numbered})
    except Exception:  # not what a stack has between its layers
        return False
    wanted = numbered.transpose(order)
    return np.array_equal(got, wanted.reshape(*wanted.shape[:2], -1))


def _chosen(stacks: list[list[_Node]], node: str | None) -> list[_Node]:
    if node is None and len(stacks) == 1:
        return stacks[0]
    for stack in stacks:
        if node in [each.name for each in stack]:
            return stack
    known = "; ".join(f"{stack[0].name!r}, a {stack[0].kind} of {len(stack)} layer(s), "
                      f"{stack[0].sizes[0]} to {stack[-1].sizes[1]}" for stack in stacks)  # fmt: skip
    given = f"no recurrent node {node!r}" if node is not None else f"{len(stacks)} recurrent networks"
    raise ArgumentError(lesson("from_onnx", f"{given}: there is {known}", "one of them", f"write node={stacks[0][0].name!r}"))


def _learnt(stack: list[_Node]) -> dict[str, Array]:
    """The initial states that are constants other than zeros, (layers · directions, n_a)."""
    found: dict[str, Array] = {}
    wrong = []
    parts = {"a_0": "initial_h", "c_0": "initial_c"} if stack[0].op == "LSTM" else {"a_0": "initial_h"}
    for name, each in parts.items():
        rows, free = [], False
        for node in stack:
            value = node.graph.constant(node.input(each)) if node.input(each) else np.zeros((node.directions, 1, 1))
            free = free or value is None
            if value is not None:
                value = value if node.layout == 0 else value.transpose(1, 0, 2)
                if (value != value[:, :1]).any():
                    wrong.append(f"node {node.name!r}: {each} is a constant that differs from sequence to sequence")
                rows.append(np.broadcast_to(value[:, 0], (node.directions, node.sizes[1])))
        if any(row.any() for row in rows):
            if free:
                wrong.append(f"{each} is a constant in some layers, and an input in others")
            else:
                found[name] = np.concatenate(rows)
    if wrong:
        raise ArgumentError(lesson("from_onnx", "; ".join(wrong), "zeros, or one state for all sequences"))
    if found:
        n = len(stack) * stack[0].directions
        found = {name: found.get(name, np.zeros((n, stack[0].sizes[1]))) for name in parts}
    return found
