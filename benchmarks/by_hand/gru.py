"""A GRU, rows, gradients in a dict."""
import numpy as np

LEAVES = ("h0", "p")


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def forward(x, h0, p, y):
    h = h0
    loss = 0.0
    store = []
    for t in range(len(x)):
        h_prev = h
        z = sigmoid(x[t] @ p["Wz"] + h_prev @ p["Uz"] + p["bz"])
        r = sigmoid(x[t] @ p["Wr"] + h_prev @ p["Ur"] + p["br"])
        rh = r * h_prev
        n = np.tanh(x[t] @ p["Wn"] + rh @ p["Un"] + p["bn"])
        h = (1 - z) * n + z * h_prev
        loss = loss + 0.5 * np.sum((h - y[t])**2)
        store.append((h_prev, z, r, rh, n, h))
    return loss, store


def backward(store, x, h0, p, y):
    grads = {k: np.zeros_like(v) for k, v in p.items()}
    dx = np.zeros_like(x)
    dh_next = np.zeros_like(store[0][0])
    for t in range(len(x) - 1, -1, -1):
        h_prev, z, r, rh, n, h = store[t]
        dh = h - y[t] + dh_next
        dz = dh * (h_prev - n)
        dn = dh * (1 - z)
        dn_raw = dn * (1 - n**2)
        drh = dn_raw @ p["Un"].T
        dr = drh * h_prev
        dr_raw = dr * r * (1 - r)
        dz_raw = dz * z * (1 - z)
        for name, raw in (("z", dz_raw), ("r", dr_raw), ("n", dn_raw)):
            grads["W" + name] += x[t].T @ raw
            grads["b" + name] += raw.sum(axis=0)
        grads["Uz"] += h_prev.T @ dz_raw
        grads["Ur"] += h_prev.T @ dr_raw
        grads["Un"] += rh.T @ dn_raw
        dx[t] = dn_raw @ p["Wn"].T + dr_raw @ p["Wr"].T + dz_raw @ p["Wz"].T
        dh_next = dh * z + drh * r + dr_raw @ p["Ur"].T + dz_raw @ p["Uz"].T
    return grads, dx, dh_next


def problem(rng, T=4, B=3, n_x=2, n_a=5):
    p = {}
    for g in "zrn":
        p["W" + g], p["U" + g], p["b" + g] = rng.normal(size=(n_x, n_a)) / 2, rng.normal(size=(n_a, n_a)) / 2, rng.normal(size=n_a)
    return {"x": rng.normal(size=(T, B, n_x)), "h0": rng.normal(size=(B, n_a)), "p": p, "y": rng.normal(size=(T, B, n_a))}
