"""The namespace: what the Array API standard (2024.12) and the design promise of it."""

import inspect
import operator
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad.mode import recording
from minigrad.op import OPS, PUBLIC, draw_samples

# Every function of the standard, main namespace and `linalg`, as inspect.signature shows it.
STANDARD = """
__array_namespace_info__()
abs(x, /)
acos(x, /)
acosh(x, /)
add(x1, x2, /)
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
argsort(x, /, *, axis=-1, descending=False, stable=True)
asarray(obj, /, *, dtype=None, device=None, copy=None)
asin(x, /)
asinh(x, /)
astype(x, dtype, /, *, copy=True, device=None)
atan(x, /)
atan2(x1, x2, /)
atanh(x, /)
bitwise_and(x1, x2, /)
bitwise_invert(x, /)
bitwise_left_shift(x1, x2, /)
bitwise_or(x1, x2, /)
bitwise_right_shift(x1, x2, /)
bitwise_xor(x1, x2, /)
broadcast_arrays(*arrays)
broadcast_to(x, /, shape)
can_cast(from_, to, /)
ceil(x, /)
clip(x, /, min=None, max=None)
concat(arrays, /, *, axis=0)
conj(x, /)
copysign(x1, x2, /)
cos(x, /)
cosh(x, /)
count_nonzero(x, /, *, axis=None, keepdims=False)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
diff(x, /, *, axis=-1, n=1, prepend=None, append=None)
divide(x1, x2, /)
empty(shape, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
equal(x1, x2, /)
exp(x, /)
expand_dims(x, /, axis)
expm1(x, /)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
finfo(type, /)
flip(x, /, *, axis=None)
floor(x, /)
floor_divide(x1, x2, /)
from_dlpack(x, /, *, device=None, copy=None)
full(shape, fill_value, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
greater(x1, x2, /)
greater_equal(x1, x2, /)
hypot(x1, x2, /)
iinfo(type, /)
imag(x, /)
isdtype(dtype, kind)
isfinite(x, /)
isinf(x, /)
isnan(x, /)
less(x1, x2, /)
less_equal(x1, x2, /)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
log(x, /)
log10(x, /)
log1p(x, /)
log2(x, /)
logaddexp(x1, x2, /)
logical_and(x1, x2, /)
logical_not(x, /)
logical_or(x1, x2, /)
logical_xor(x1, x2, /)
matmul(x1, x2, /)
matrix_transpose(x, /)
max(x, /, *, axis=None, keepdims=False)
maximum(x1, x2, /)
mean(x, /, *, axis=None, keepdims=False)
meshgrid(*arrays, indexing='xy')
min(x, /, *, axis=None, keepdims=False)
minimum(x1, x2, /)
moveaxis(x, source, destination, /)
multiply(x1, x2, /)
negative(x, /)
nextafter(x1, x2, /)
nonzero(x, /)
not_equal(x1, x2, /)
ones(shape, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
permute_dims(x, /, axes)
positive(x, /)
pow(x1, x2, /)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
real(x, /)
reciprocal(x, /)
remainder(x1, x2, /)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
result_type(*arrays_and_dtypes)
roll(x, /, shift, *, axis=None)
round(x, /)
searchsorted(x1, x2, /, *, side='left', sorter=None)
sign(x, /)
signbit(x, /)
sin(x, /)
sinh(x, /)
sort(x, /, *, axis=-1, descending=False, stable=True)
sqrt(x, /)
square(x, /)
squeeze(x, /, axis)
stack(arrays, /, *, axis=0)
std(x, /, *, axis=None, correction=0.0, keepdims=False)
subtract(x1, x2, /)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
tan(x, /)
tanh(x, /)
tensordot(x1, x2, /, *, axes=2)
tile(x, repetitions, /)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
trunc(x, /)
unique_all(x, /)
unique_counts(x, /)
unique_inverse(x, /)
unique_values(x, /)
unstack(x, /, *, axis=0)
var(x, /, *, axis=None, correction=0.0, keepdims=False)
vecdot(x1, x2, /, *, axis=-1)
where(condition, x1, x2, /)
zeros(shape, *, dtype=None, device=None)
zeros_like(x, /, *, dtype=None, device=None)
linalg.cholesky(x, /, *, upper=False)
linalg.cross(x1, x2, /, *, axis=-1)
linalg.det(x, /)
linalg.diagonal(x, /, *, offset=0)
linalg.eigh(x, /)
linalg.eigvalsh(x, /)
linalg.inv(x, /)
linalg.matmul(x1, x2, /)
linalg.matrix_norm(x, /, *, keepdims=False, ord='fro')
linalg.matrix_power(x, n, /)
linalg.matrix_rank(x, /, *, rtol=None)
linalg.matrix_transpose(x, /)
linalg.outer(x1, x2, /)
linalg.pinv(x, /, *, rtol=None)
linalg.qr(x, /, *, mode='reduced')
linalg.slogdet(x, /)
linalg.solve(x1, x2, /)
linalg.svd(x, /, *, full_matrices=True)
linalg.svdvals(x, /)
linalg.tensordot(x1, x2, /, *, axes=2)
linalg.trace(x, /, *, offset=0, dtype=None)
linalg.vecdot(x1, x2, /, *, axis=-1)
linalg.vector_norm(x, /, *, axis=None, keepdims=False, ord=2)
""".strip().split("\n")


def parts(signature):
    return [(p.name, p.kind, p.default) for p in signature.parameters.values()]


@pytest.mark.parametrize("line", STANDARD, ids=lambda line: line.partition("(")[0])
def test_signature(line):
    name, _, arguments = line.partition("(")
    where = mg.linalg if name.startswith("linalg.") else mg
    function = getattr(where, name.removeprefix("linalg."))
    wanted = inspect.signature(eval(f"lambda {arguments[:-1]}: None"))
    assert parts(inspect.signature(function)) == parts(wanted)
    assert callable(function)
    assert function.__doc__


def test_the_table_of_the_standard_is_whole():
    assert len(STANDARD) == 157
    assert sum(line.startswith("linalg.") for line in STANDARD) == 23


# --- the array object -----------------------------------------------------------------------

BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
          "lshift", "rshift"]  # fmt: skip


@pytest.mark.parametrize("name", [
    *(f"__{name}__" for name in BINARY), *(f"__r{name}__" for name in BINARY),
    *(f"__{name}__" for name in ("abs", "array_namespace", "bool", "complex", "dlpack", "dlpack_device", "eq",
                                 "float", "ge", "getitem", "gt", "index", "int", "invert", "le", "lt", "ne",
                                 "neg", "pos", "setitem")),
    "dtype", "device", "mT", "ndim", "shape", "size", "T", "to_device",
])  # fmt: skip
def test_the_array_object_has(name):
    assert name in vars(mg.Tensor)


@pytest.mark.parametrize("name", [n for n in BINARY if n != "matmul"])
def test_operators_answer_as_numpy_does_on_either_side(name):
    op = getattr(operator, f"{name}_" if name in ("and", "or") else name)
    a, b = np.array([[7, 5], [3, 2]]), np.array([2, 1])
    if name in ("truediv", "pow", "mod", "floordiv", "add", "sub", "mul"):
        a, b = a + 0.5, b + 0.25
        for number in (2, 1.5):
            check(op(mg.tensor(a), number), op(a, number))
            check(op(number, mg.tensor(a)), op(number, a))
    else:
        check(op(mg.tensor(a), 2), op(a, 2))
        check(op(2, mg.tensor(b)), op(2, b))
    check(op(mg.tensor(a), mg.tensor(b)), op(a, b))
    check(op(mg.tensor(a), b), op(a, b))
    check(op(a, mg.tensor(b)), op(a, b))
    x = kept = mg.tensor(a)
    x = getattr(operator, f"i{name}")(x, b)  # rebinds
    check(x, op(a, b))
    check(kept, a)


def check(got, want):
    assert isinstance(got, mg.Tensor)
    want = np.asarray(want)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got.data, want)


def test_array_on_the_left_of_matmul():
    a = np.arange(6.0).reshape(2, 3)
    check(a @ mg.tensor(a.T), a @ a.T)
    check([1.0, 2.0] @ mg.tensor(a), [1.0, 2.0] @ a)


def test_a_tensor_knows_its_namespace_and_its_device():
    x = mg.tensor([1.0], requires_grad=True)
    assert x.__array_namespace__() is mg
    for version in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        assert x.__array_namespace__(api_version=version) is mg
    with pytest.raises(mg.errors.DomainError, match=r"api_version='2019\.01'; the Array API standard"):
        x.__array_namespace__(api_version="2019.01")
    assert x.device == "cpu" == mg.__array_namespace_info__().default_device()
    assert x.to_device("cpu") is x
    with pytest.raises(mg.errors.ArgumentError, match=r"^to_device: device='cuda'; arrays live on the CPU"):
        x.to_device("cuda")
    with pytest.raises(mg.errors.ArgumentError, match="streams"):
        x.to_device("cpu", stream=1)
    assert mg.__array_api_version__ == "2024.12"


def test_conversions_to_python():
    assert [operator.index(mg.tensor(3)), int(mg.tensor(3.7)), float(mg.tensor(2)), bool(mg.tensor(0.0))] == [3, 3, 2.0, False]
    assert complex(mg.tensor(1 + 2j)) == 1 + 2j
    assert list(range(10))[mg.tensor(4)] == 4


# --- dtypes and constants -------------------------------------------------------------------

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
          "complex64", "complex128"]  # fmt: skip


@pytest.mark.parametrize("name", [*DTYPES, "float16"])
def test_dtype(name):
    dtype = getattr(mg, name)
    assert dtype == np.dtype(name)
    assert mg.zeros(2, dtype=dtype).dtype is dtype
    assert {dtype: name}[mg.tensor([0], dtype).dtype] == name
    if name != "bool":
        assert name in mg.__all__


def test_constants():
    assert (mg.e, mg.pi, mg.inf, mg.newaxis) == (np.e, np.pi, np.inf, None)
    assert mg.nan != mg.nan
    assert mg.tensor([1.0, 2.0])[:, mg.newaxis].shape == (2, 1)


def test_names_that_shadow_python_are_there_and_stay_out_of_all():
    for name in ("abs", "all", "any", "bool", "max", "min", "pow", "sum"):
        assert hasattr(mg, name)
        assert name not in mg.__all__
    space = {}
    exec("from minigrad import *\nassert bool is type(True) and sum([1]) == 1", space)
    assert space["float32"] is mg.float32


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "complex128"])
def test_finfo(name):
    dtype = getattr(mg, name)
    want = np.finfo(dtype)
    for given in (dtype, name, mg.zeros(2, dtype=dtype), np.zeros(2, dtype)):
        got = mg.finfo(given)
        for field in ("eps", "max", "min", "smallest_normal"):
            assert type(getattr(got, field)) is float
            assert getattr(got, field) == float(getattr(want, field))
        assert (got.bits, got.dtype) == (want.bits, want.dtype)


@pytest.mark.parametrize("name", [n for n in DTYPES if "int" in n])
def test_iinfo(name):
    dtype = getattr(mg, name)
    want = np.iinfo(dtype)
    for given in (dtype, mg.zeros(2, dtype=dtype)):
        got = mg.iinfo(given)
        assert got == (want.bits, want.max, want.min, dtype)
        assert type(got.max) is int


def test_isdtype():
    kinds = ["bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"]
    for name in DTYPES:
        for kind in [*kinds, mg.float32, ("bool", mg.int8, "complex floating")]:
            assert mg.isdtype(getattr(mg, name), kind) is np.isdtype(np.dtype(name), kind), (name, kind)


def test_promotion():
    for a in DTYPES:
        for b in DTYPES:
            x, y = mg.zeros(1, dtype=a), mg.zeros(1, dtype=b)
            want = np.result_type(np.dtype(a), np.dtype(b))
            assert mg.result_type(x, y) == mg.result_type(x.dtype, b) == np.result_type(x, y.dtype) == want
            assert mg.can_cast(x, b) is mg.can_cast(x.dtype, y.dtype) is np.can_cast(np.dtype(a), np.dtype(b))
            assert np.can_cast(x, y.dtype) is mg.can_cast(x, b)
        for number in (True, 2, 2.0, 2j):
            assert mg.result_type(mg.zeros(1, dtype=a), number) == np.result_type(np.dtype(a), number)
    assert mg.result_type(mg.tensor(1.0, mg.float32), 1.0, 3) is mg.float32


def test_inspection():
    info = mg.__array_namespace_info__()
    assert info.capabilities() == {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}
    assert mg.zeros((1,) * info.capabilities()["max dimensions"]).ndim == 64
    assert info.devices() == ["cpu"]
    assert list(info.dtypes()) == DTYPES
    assert set(info.dtypes(kind="real floating", device="cpu")) == {"float32", "float64"}
    assert set(info.dtypes(kind=("bool", "unsigned integer"))) == {"bool", "uint8", "uint16", "uint32", "uint64"}
    kinds = info.default_dtypes(device="cpu")
    assert mg.asarray([1.0]).dtype == kinds["real floating"]
    assert mg.asarray([1]).dtype == mg.arange(3).dtype == kinds["integral"]
    assert mg.asarray([1j]).dtype == kinds["complex floating"]
    assert mg.argmax([1.0]).dtype == kinds["indexing"]


# --- creation -------------------------------------------------------------------------------

SAME_AS_NUMPY = [
    ("arange", (5,), {}), ("arange", (2, 9, 3), {}), ("arange", (0.5, 3), {}), ("arange", (3, 0), {}),
    ("arange", (5, None, 2), {}), ("arange", (4, 0, -1), {"dtype": "float32"}), ("arange", (3,), {"dtype": "uint8"}),
    ("zeros", (3,), {}), ("zeros", ((2, 0),), {"dtype": "int16"}), ("zeros", ((),), {}), ("ones", ((2, 3),), {}),
    ("ones", (2,), {"dtype": "bool"}), ("full", ((2, 2), 3), {}), ("full", (3, 2.5), {"dtype": "float32"}),
    ("full", ((), True), {}), ("full", (2, 1j), {}), ("full", ((2, 3), [1, 2, 3]), {}), ("full", (2, 3), {"dtype": "complex64"}),
    ("eye", (3,), {}), ("eye", (2, 4), {"k": 1}), ("eye", (3, 2), {"k": -1, "dtype": "int8"}), ("eye", (0,), {}),
    ("linspace", (0, 1, 5), {}), ("linspace", (3, -2, 4), {"endpoint": False}), ("linspace", (0, 9, 4), {"dtype": "int64"}),
    ("linspace", (1.5, 2, 1), {}), ("linspace", (1, 2, 0), {}), ("linspace", (0, 1, 3), {"dtype": "float32"}),
    ("linspace", (0, 1j, 3), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "params"), SAME_AS_NUMPY, ids=str)
def test_creation_is_numpys(name, args, params):
    got = getattr(mg, name)(*args, **params)
    check(got, getattr(np, name)(*args, **params))
    check(getattr(mg, name)(*args, **params, device="cpu"), got.data)
    assert not got.requires_grad
    assert not got.data.flags.writeable


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_like(name):
    for x in (np.ones((2, 3), np.float32), np.array(3), np.zeros((0, 2), bool), np.ones((4, 3)).T):
        t = mg.tensor(x, requires_grad=x.dtype.kind == "f")
        fill = np.ones_like if name == "ones_like" else np.zeros_like
        for got in (getattr(mg, name)(t), getattr(np, name)(t), getattr(mg, name)(x)):
            check(got, fill(x))
            assert not got.requires_grad
        check(getattr(mg, name)(t, dtype=mg.int8), fill(x, dtype=np.int8))
        check(getattr(np, name)(t, dtype=np.int8), fill(x, dtype=np.int8))
    check(mg.full_like(mg.ones(3, dtype=mg.float32), 2), np.full(3, 2, np.float32))
    check(np.full_like(mg.ones(3), fill_value=2), np.full(3, 2.0))


def test_asarray_copies_what_is_not_a_tensor():
    a = np.arange(3.0)
    x = mg.asarray(a)
    a[0] = 9
    check(x, [0.0, 1.0, 2.0])
    check(mg.asarray([[1, 2], [3, 4]]), [[1, 2], [3, 4]])
    check(mg.asarray(a, dtype=mg.float32), a.astype(np.float32))
    check(mg.asarray([1, 2], dtype="uint8"), np.array([1, 2], np.uint8))
    check(mg.asarray(2**63), np.array(2**63, np.uint64))
    check(mg.asarray(np.float32(2)), np.float32(2))
    check(mg.asarray([], dtype=mg.int64), np.array([], np.int64))


def test_asarray_keeps_a_tensor_on_the_graph():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert mg.asarray(x) is x
    assert mg.asarray(x, dtype=mg.float64, copy=False) is x
    y = mg.asarray(x, copy=True)
    assert not np.shares_memory(y.data, x.data)
    half = mg.asarray(x, dtype=mg.float16)
    assert half.dtype is mg.float16
    (y + half * 3.0 + mg.from_dlpack(x)).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [5.0, 5.0])


def test_asarray_of_a_list_that_holds_tensors_stays_on_the_graph():
    x = mg.tensor([1.0, 2.0], mg.float32, requires_grad=True)
    y = mg.asarray([x, [3.0, x[0]], (4, np.float32(5))])
    check(y, np.array([[1, 2], [3, 1], [4, 5]], np.float32))
    y.backward(np.array([[1, 10], [100, 1000], [7, 7]], np.float32))
    np.testing.assert_array_equal(x.grad.data, [1001, 10])
    assert mg.asarray([x], dtype=mg.float64).dtype is mg.float64
    with recording() as tape:
        mg.asarray([mg.tensor(1.0), 2.0])
    assert "stack" in [node.op.name for node in tape]


@pytest.mark.parametrize("order", [1, 2])
def test_full_and_linspace_depend_on_the_tensors_that_they_are_given(order):
    rng = np.random.default_rng(3)
    w = rng.normal(size=(5, 2))
    functions = {
        "full": (lambda a: mg.full((5, 2), mg.exp(a)), lambda a: np.exp(a) * w.sum(0)),
        "full_like": (lambda a: mg.full_like(np.zeros((5, 2)), mg.exp(a)), lambda a: np.exp(a) * w.sum(0)),
        "start": (lambda a: mg.linspace(mg.exp(a), 2.0, 5), lambda a: np.exp(a) * (np.arange(5)[::-1] / 4 @ w)),
        "stop": (lambda a: mg.linspace(2.0, mg.exp(a), 5), lambda a: np.exp(a) * (np.arange(5) / 4 @ w)),
        "open": (lambda a: np.linspace([0.0, 1.0], mg.exp(a), 5, endpoint=False), lambda a: np.exp(a) * (np.arange(5) / 5 @ w)),
        "both": (lambda a: mg.linspace(mg.exp(a), mg.exp(a), 5), lambda a: np.exp(a) * w.sum(0)),
    }
    a = rng.normal(size=2)
    for name, (f, want) in functions.items():
        loss = lambda a, f=f: mg.sum(f(a) * w)  # noqa: E731
        g = mg.grad(loss)
        if order == 2:  # d/da of the sum of exp's gradient is the same again
            first = g
            g = mg.grad(lambda a, first=first: mg.sum(first(a)))
        np.testing.assert_allclose(g(a).data, want(a), rtol=1e-13, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_linspace_of_tensors_has_numpys_bits(dtype):
    rng = np.random.default_rng(4)
    for num in (0, 1, 2, 7, 50):
        for endpoint in (True, False):
            a, b = rng.normal(size=3).astype(dtype), rng.normal(size=(2, 1)).astype(dtype)
            for ends in ((mg.tensor(a), mg.tensor(b)), (mg.tensor(a), 2.0), (0, mg.tensor(a)), (a, mg.tensor(b[0, 0]))):
                want = np.linspace(*(x.numpy() if isinstance(x, mg.Tensor) else x for x in ends), num, endpoint=endpoint)
                got = mg.linspace(*ends, num, endpoint=endpoint)
                check(got, want)


def test_dlpack():
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]])
    out = np.from_dlpack(x)
    check(mg.asarray(out), x.data)
    out[0, 0] = 9  # a copy: what a tensor holds does not change
    assert x.data[0, 0] == 1
    shared = np.from_dlpack(x, copy=False)
    assert np.shares_memory(shared, x.data)
    assert not shared.flags.writeable
    assert x.__dlpack_device__() == np.zeros(1).__dlpack_device__()
    source = np.arange(3.0)
    y = mg.from_dlpack(source, device="cpu")
    source[0] = 9
    check(y, [0.0, 1.0, 2.0])
    leaf = mg.tensor([1.0], requires_grad=True)
    assert mg.from_dlpack(leaf) is leaf
    with pytest.raises(mg.errors.DtypeError, match=r"requires a gradient, which a capsule cannot carry; write t\.detach\(\)"):
        np.from_dlpack(leaf)


def test_dlpack_with_torch(torch):
    x = mg.tensor([1.0, 2.0])
    t = torch.from_dlpack(x)
    t[0] = 9.0  # PyTorch writes into read-only memory
    check(x, [1.0, 2.0])
    check(mg.from_dlpack(t), [9.0, 2.0])


T = mg.tensor([1.0, 2.0], requires_grad=True)
REFUSED = [
    (lambda: mg.zeros(2, device="cuda"), TypeError, r"^zeros: device='cuda'; arrays live on the CPU; leave device out"),
    (lambda: mg.asarray(1, device=0), TypeError, r"^asarray: device=0"),
    (lambda: mg.full(2, T, device="gpu"), TypeError, r"^full: device='gpu'"),
    (lambda: mg.linspace(0, T, 3, device="gpu"), TypeError, r"^linspace: device='gpu'"),
    (lambda: mg.zeros(-1), ValueError, r"^zeros: negative"),
    (lambda: mg.ones((2, 1.5)), TypeError, r"^ones: .*float"),
    (lambda: mg.zeros(2, dtype="nonsense"), TypeError, r"^zeros: dtype='nonsense'"),
    (lambda: mg.zeros(2, dtype=object), TypeError, r"^zeros: dtype=.*accepted are bool, integers"),
    (lambda: mg.arange(T[0]), TypeError, r"^arange: start is a tensor; .*write start=start\.item\(\)"),
    (lambda: mg.arange(0, 3, 0), ValueError, r"^arange: "),
    (lambda: mg.linspace(0, 1, T[0]), TypeError, r"^linspace: num is a tensor"),
    (lambda: mg.linspace(0, T, -1), TypeError, r"^linspace: num=-1; an integer from 0 on"),
    (lambda: mg.linspace(0, 1, -1), ValueError, r"^linspace: "),
    (lambda: mg.linspace(0, T, 3, dtype=int), TypeError, r"^linspace: dtype=int64 between tensors; a float dtype"),
    (lambda: mg.full(2, T, dtype=int), TypeError, r"^astype: a tensor that requires a gradient to int64"),
    (lambda: mg.full_like(np.arange(2), T), TypeError, r"^astype: .*requires a gradient"),
    (lambda: mg.full((3, 3), T), ValueError, r"^broadcast_to: shape \(2,\) to \(3, 3\)"),
    (lambda: mg.full(3, "a"), TypeError, r"^full: got str"),
    (lambda: mg.asarray(T, dtype=bool), TypeError, r"^astype: .*requires a gradient"),
    (lambda: mg.asarray(np.ones(2), copy=False), ValueError, r"^asarray: copy=False and got ndarray"),
    (lambda: mg.asarray(T, dtype=mg.float32, copy=False), ValueError, r"^asarray: copy=False and float64 to float32"),
    (lambda: mg.asarray([300], dtype=mg.int8), ValueError, r"^asarray: .*300.*numbers that int8 holds"),
    (lambda: mg.asarray([1j], dtype=float), TypeError, r"^asarray: complex128 to float64; complex stays complex"),
    (lambda: mg.asarray([[1], [2, 3]]), ValueError, r"^asarray: a ragged list"),
    (lambda: mg.asarray([T, [1.0]]), ValueError, r"^stack: shapes \(2,\), \(1,\)"),
    (lambda: mg.asarray([T, "a"]), TypeError, r"^asarray: got str"),
    (lambda: mg.from_dlpack([1.0]), TypeError, r"^from_dlpack: got list; an array that has __dlpack__"),
    (lambda: mg.finfo(int), TypeError, r"^finfo: dtype int64; a float or complex dtype; use mg\.iinfo"),
    (lambda: mg.iinfo(T), TypeError, r"^iinfo: dtype float64; an integer dtype; use mg\.finfo"),
    (lambda: mg.isdtype(mg.int8, "integer"), TypeError, r"^isdtype: kind='integer'; one of 'bool', 'signed integer'"),
    (lambda: mg.isdtype(None, "bool"), TypeError, r"^isdtype: dtype=None"),
    (lambda: mg.result_type(), TypeError, r"^result_type: no arguments"),
    (lambda: mg.result_type(T, "nonsense"), TypeError, r"^result_type: dtype='nonsense'"),
    (lambda: mg.can_cast(T, None), TypeError, r"^can_cast: dtype=None"),
    (lambda: mg.__array_namespace_info__().dtypes(kind="x"), TypeError, r"^isdtype: kind='x'"),
    (lambda: mg.__array_namespace_info__().dtypes(device="tpu"), TypeError, r"^dtypes: device='tpu'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), REFUSED, ids=[m for _, _, m in REFUSED])
def test_refused(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)


# --- what users of NumPy, SciPy and the Array API rely on -----------------------------------


def test_what_define_returns_has_a_name_a_docstring_and_a_signature():
    for name, function in PUBLIC.items():
        assert function.__name__ in (PUBLIC[name].__name__, name)
        assert function.__doc__
        inspect.signature(function)
        if function is getattr(function, "op", None):
            assert function.__signature__ == function.op.signature


def test_a_program_stays_in_one_namespace():
    x = mg.tensor([[1.0, np.nan], [-2.0, 3.0]], requires_grad=True)
    for y in (x > 0, x == x, mg.isnan(x), mg.isfinite(x), mg.logical_not(x > 0), mg.argmax(x), mg.all(x > 0), mg.any(x > 0),
              ~(x > 0), (x > 0) & (x < 2)):  # fmt: skip
        assert isinstance(y, mg.Tensor)
        assert not y.requires_grad


INDICES = {"list": [1, 0], "ndarray": np.array([[0, 2], [1, 1]]), "tensor": mg.tensor([2, 0]), "negative step": slice(None, None, -2),
           "mask": np.array([True, False, True]), "tensor mask": mg.tensor([True, False, True]), "number": -1,
           "empty": [], "newaxis": (None, slice(1)), "Ellipsis": (..., 0), "0-d tensor": mg.tensor(1)}  # fmt: skip


@pytest.mark.parametrize("key", INDICES.values(), ids=INDICES)
def test_every_index_stays_on_the_graph(key):
    a = np.arange(6.0).reshape(3, 2)
    x = mg.tensor(a, requires_grad=True)
    y = x[key]
    plain = key.numpy() if isinstance(key, mg.Tensor) else key
    check(y, a[np.asarray(plain, int) if plain == [] else plain] if isinstance(plain, list) else a[plain])
    assert y.requires_grad
    y.sum().backward()
    counts = np.zeros((3, 2))
    np.add.at(counts, np.asarray(plain, int) if isinstance(plain, list) else plain, 1.0)
    np.testing.assert_array_equal(x.grad.data, counts)


STAYS = {
    "asarray": lambda x: mg.asarray(x), "astype": lambda x: mg.astype(x, mg.float32),
    "broadcast_arrays": lambda x: mg.broadcast_arrays(x, np.zeros((2, *x.shape)))[0],
    "clip": lambda x: mg.clip(x, min=-5, max=5), "np.clip": lambda x: np.clip(x, -5, 5),
    "clip from below": lambda x: mg.clip(x, min=-5), "broadcast_to": lambda x: mg.broadcast_to(x, (2, *x.shape)),
}  # fmt: skip


@pytest.mark.parametrize("shape", [(), (3,), (0,), (0, 2)], ids=str)
@pytest.mark.parametrize("f", STAYS.values(), ids=STAYS)
def test_nothing_detaches_silently(f, shape):
    x = mg.tensor(np.ones(shape), requires_grad=True)
    y = f(x)
    assert y.requires_grad
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.full(shape, y.size / max(x.size, 1)))


def test_nothing_leaves_or_enters_the_graph_unnoticed():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    array = np.zeros(2)
    for way in ("np.asarray(x)", "np.array(x)", "np.array([x, x])", "array[0] = x[0]", "array[:] = x",
                "np.add(array, x, out=array)", "array += x"):  # fmt: skip
        with pytest.raises((mg.MinigradError, ValueError)) as caught:
            exec(way, {"np": np, "x": x, "array": array})
        lesson = caught.value.__cause__ or caught.value  # NumPy puts an error of its own before ours
        assert isinstance(lesson, mg.MinigradError)
        assert re.search(r"t\.numpy|t\.item|bind the result", str(lesson))
        assert not array.any(), way
    with pytest.raises(mg.errors.DtypeError, match=r"mg\.where"):
        x[0] = 1.0
    np.testing.assert_array_equal(np.asarray(x.detach()), [1.0, 2.0])


def test_transforms_accept_what_an_outer_transform_differentiates():
    y, pull = mg.vjp(lambda a, b: (a * b, a), np.array(2.0), mg.tensor(3.0))
    assert [t.item() for t in y] == [6.0, 2.0]
    assert [g.item() for g in pull((1.0, 10.0))] == [13.0, 2.0]
    outer = mg.grad(lambda a: mg.vjp(lambda b: b * b * a, a)[1](1.0)[0])  # 2 a · a, differentiated: 4 a
    assert outer(3.0).item() == 12.0


def test_a_parameter_replaced_by_a_traced_tensor_is_differentiated_like_it():
    layer = mg.nn.Linear(2, 1, rng=np.random.default_rng(0), dtype=np.float64)
    x = np.array([[3.0, 4.0]])

    def loss(s):
        layer.weight = s * mg.ones(layer.weight.shape)
        return mg.sum(layer(x))

    assert mg.grad(loss)(0.5).item() == 7.0


# --- docstrings -----------------------------------------------------------------------------


def sections(doc):
    """Heading -> lines of a numpydoc docstring; the summary under ''."""
    found, name = {"": []}, ""
    lines = doc.split("\n")
    for line, rule in zip(lines, [*lines[1:], ""], strict=True):
        if line and rule == "-" * len(line):
            name = line
            assert name not in found, f"section {name} twice"
            found[name] = []
        elif not (line and set(line) == {"-"}):
            found[name].append(line)
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    function = PUBLIC[name]
    found = sections(function.__doc__)
    assert found[""][0].strip(), "no summary"
    assert len(found) == 1 or found[""][-1] == "", "a blank line before the first section"
    order = ["", "Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples"]
    assert list(found) == [s for s in order if s in found]
    heads = [line.partition(" : ")[0] for line in found.get("Parameters", []) if line and line[0] != " "]
    assert sorted(n.strip(" *") for head in heads for n in head.split(",")) == sorted(inspect.signature(function).parameters)
    assert found["Returns"][0], "what is returned has no type"
    op = getattr(function, "op", None)
    if op is not None:
        notes = "\n".join(found["Notes"])
        assert ("no derivative" in notes) != op.differentiable
        for kink in op.kinks:
            assert kink.where in notes


@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if hasattr(f, "op")])
def test_the_docstring_knows_how_many_arrays_come_back(name):
    function = PUBLIC[name]
    op = function.op
    sample = next(iter(draw_samples(op, np.random.default_rng(0))), None)
    if sample is not None:
        several = isinstance(op.forward(*sample[0], **sample[1]), tuple)
        kind = sections(function.__doc__)["Returns"][0]
        assert several == (kind.startswith("tuple") or kind.endswith("Result")), (
            f"{name}: {kind!r}; annotate the forward with -> tuple[...]")  # fmt: skip


def test_docstring_of_a_record():
    assert mg.maximum.__doc__ == """max(x₁, x₂).

Parameters
----------
x1 : Tensor or array_like
x2 : Tensor or array_like

Returns
-------
Tensor
    Of the shape that the inputs broadcast to.

Notes
-----
Differentiable to any order.
Where x₁ = x₂, a cotangent of 1 gives 0, 1."""
    assert "In (0, ∞)." in mg.log.__doc__
    assert "axis : int or tuple of int, optional\n    The axis" in mg.sum.__doc__
    assert "keepdims : bool, default: False" in mg.sum.__doc__
    assert "shape : int or tuple of int\n" in mg.reshape.__doc__
    assert "approximate : {'none', 'tanh'}, default: 'none'" in mg.gelu.__doc__
    assert "indices : Tensor or array_like\n    A constant: no gradient flows here." in mg.take.__doc__
    assert "It carries no gradient." in mg.isnan.__doc__


def test_methods_are_documented():
    for name in ("sum", "mean", "reshape", "astype", "exp"):
        method = getattr(mg.Tensor, name)
        assert method.__name__ == name
        assert method.__doc__ == PUBLIC[name].__doc__


def test_a_docstring_by_hand_is_kept_and_completed():
    from minigrad.docstring import document

    def f(x, /, a=1, *, b="one"):
        """Do it.

        More of it.

        Parameters
        ----------
        b : str
            By hand.
        """

    assert re.sub(r"\n\n+", "\n", document(f)) == """Do it.
More of it.
Parameters
----------
x : Tensor or array_like
a : int, default: 1
b : str
    By hand.
Returns
-------
Tensor"""


def test_every_record_of_the_registry_can_be_described():
    from minigrad.docstring import document

    for op in OPS.values():
        def bare(*args):
            pass

        bare.__signature__ = op.signature
        assert "Returns\n-------" in document(bare, op)
