# ruff: noqa: RUF059
"""A function per cell, the batch in columns, gates' derivatives multiplied in at once."""
import numpy as np

LEAVES = ("a0", "c0", "parameters")

KEYS = ("Wf", "bf", "Wi", "bi", "Wc", "bc", "Wo", "bo")


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def cell_forward(xt, a_prev, c_prev, parameters):
    Wf, bf, Wi, bi, Wc, bc, Wo, bo = (parameters[k] for k in KEYS)
    concat = np.concatenate((a_prev, xt), axis=0)
    ft = sigmoid(np.dot(Wf, concat) + bf)
    it = sigmoid(np.dot(Wi, concat) + bi)
    cct = np.tanh(np.dot(Wc, concat) + bc)
    c_next = ft * c_prev + it * cct
    ot = sigmoid(np.dot(Wo, concat) + bo)
    a_next = ot * np.tanh(c_next)
    return a_next, c_next, (a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, concat)


def forward(x, a0, c0, y, parameters):
    a_next, c_next = a0, c0
    outputs, caches = [], []
    for t in range(x.shape[2]):
        a_next, c_next, cache = cell_forward(x[:, :, t], a_next, c_next, parameters)
        outputs.append(a_next)
        caches.append(cache)
    a = np.stack(outputs, axis=2)
    loss = 0.5 * np.sum((a - y)**2)
    return loss, (a, caches)


def cell_backward(da_next, dc_next, cache, parameters):
    a_next, c_next, a_prev, c_prev, ft, it, cct, ot, xt, concat = cache
    Wf, bf, Wi, bi, Wc, bc, Wo, bo = (parameters[k] for k in KEYS)
    n_a = a_next.shape[0]
    tc = np.tanh(c_next)
    dot = da_next * tc * ot * (1 - ot)
    dcct = (dc_next * it + ot * (1 - tc**2) * it * da_next) * (1 - cct**2)
    dit = (dc_next * cct + ot * (1 - tc**2) * cct * da_next) * it * (1 - it)
    dft = (dc_next * c_prev + ot * (1 - tc**2) * c_prev * da_next) * ft * (1 - ft)
    dWf = np.dot(dft, concat.T)
    dWi = np.dot(dit, concat.T)
    dWc = np.dot(dcct, concat.T)
    dWo = np.dot(dot, concat.T)
    dbf = np.sum(dft, axis=1, keepdims=True)
    dbi = np.sum(dit, axis=1, keepdims=True)
    dbc = np.sum(dcct, axis=1, keepdims=True)
    dbo = np.sum(dot, axis=1, keepdims=True)
    da_prev = np.dot(Wf[:, :n_a].T, dft) + np.dot(Wi[:, :n_a].T, dit) + np.dot(Wc[:, :n_a].T, dcct) + np.dot(Wo[:, :n_a].T, dot)
    dxt = np.dot(Wf[:, n_a:].T, dft) + np.dot(Wi[:, n_a:].T, dit) + np.dot(Wc[:, n_a:].T, dcct) + np.dot(Wo[:, n_a:].T, dot)
    dc_prev = dc_next * ft + ot * (1 - tc**2) * ft * da_next
    return {"da_prev": da_prev, "dc_prev": dc_prev, "dxt": dxt, "dWf": dWf, "dbf": dbf, "dWi": dWi, "dbi": dbi,
            "dWc": dWc, "dbc": dbc, "dWo": dWo, "dbo": dbo}


def backward(cache, x, a0, c0, y, parameters):
    a, caches = cache
    n_x, m, T_x = x.shape
    n_a = a.shape[0]
    da = a - y
    dx = np.zeros((n_x, m, T_x))
    da_prevt = np.zeros((n_a, m))
    dc_prevt = np.zeros((n_a, m))
    dWf, dWi, dWc, dWo = (np.zeros((n_a, n_a + n_x)) for _ in range(4))
    dbf, dbi, dbc, dbo = (np.zeros((n_a, 1)) for _ in range(4))
    for t in reversed(range(T_x)):
        gradients = cell_backward(da[:, :, t] + da_prevt, dc_prevt, caches[t], parameters)
        da_prevt = gradients["da_prev"]
        dc_prevt = gradients["dc_prev"]
        dx[:, :, t] = gradients["dxt"]
        dWf += gradients["dWf"]
        dWi += gradients["dWi"]
        dWc += gradients["dWc"]
        dWo += gradients["dWo"]
        dbf += gradients["dbf"]
        dbi += gradients["dbi"]
        dbc += gradients["dbc"]
        dbo += gradients["dbo"]
    da0 = da_prevt
    return {"dx": dx, "da0": da0, "dWf": dWf, "dWi": dWi, "dWc": dWc, "dWo": dWo,
            "dbf": dbf, "dbi": dbi, "dbc": dbc, "dbo": dbo}


def problem(rng, T=4, B=3, n_x=2, n_a=5):
    p = {}
    for g in "fico":
        p["W" + g] = rng.normal(size=(n_a, n_a + n_x)) / np.sqrt(n_a)
        p["b" + g] = rng.normal(size=(n_a, 1))
    return {"x": rng.normal(size=(n_x, B, T)), "a0": rng.normal(size=(n_a, B)), "c0": rng.normal(size=(n_a, B)),
                "y": rng.normal(size=(n_a, B, T)), "parameters": p}
