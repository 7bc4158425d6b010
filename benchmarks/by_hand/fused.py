"""Rows, all gates in one matrix WLSTM, a loop over numbered arrays."""
import numpy as np

LEAVES = ("WLSTM", "b", "h0", "c0")


def sigm(v):
    return 1.0 / (1.0 + np.exp(-v))


def forward(X, WLSTM, b, h0, c0, targets):
    H = h0.shape[1]
    hs, cs = {-1: h0}, {-1: c0}
    ins, ifog = {}, {}
    h, c = h0, c0
    loss = 0.0
    for t in range(X.shape[0]):
        hin = np.concatenate([X[t], h], axis=1)
        pre = hin @ WLSTM + b
        i = sigm(pre[:, :H])
        f = sigm(pre[:, H:2 * H])
        o = sigm(pre[:, 2 * H:3 * H])
        g = np.tanh(pre[:, 3 * H:])
        c = f * c + i * g
        ct = np.tanh(c)
        h = o * ct
        loss = loss + 0.5 * np.mean((h - targets[t])**2)
        ins[t], ifog[t], hs[t], cs[t] = hin, (i, f, o, g, ct), h, c
    return loss, (ins, ifog, hs, cs)


def backward(cache, X, WLSTM, b, h0, c0, targets):
    ins, ifog, hs, cs = cache
    T, B, n_x = X.shape
    H = hs[0].shape[1]
    dWLSTM = np.zeros_like(WLSTM)
    db = np.zeros_like(b)
    dX = np.zeros_like(X)
    dhnext = np.zeros((B, H))
    dcnext = np.zeros((B, H))
    for t in reversed(range(T)):
        i, f, o, g, ct = ifog[t]
        dh = (hs[t] - targets[t]) / (B * H) + dhnext
        do = dh * ct
        dc = dh * o * (1 - ct**2) + dcnext
        df = dc * cs[t - 1]
        di = dc * g
        dg = dc * i
        dcnext = dc * f
        di_in = i * (1 - i) * di
        df_in = f * (1 - f) * df
        do_in = o * (1 - o) * do
        dg_in = (1 - g**2) * dg
        dz4 = np.concatenate([di_in, df_in, do_in, dg_in], axis=1)
        dWLSTM += ins[t].T @ dz4
        db += dz4.sum(axis=0)
        dhin = dz4 @ WLSTM.T
        dX[t] = dhin[:, :n_x]
        dhnext = dhin[:, n_x:]
    dh0, dc0 = dhnext, dcnext
    return dX, dWLSTM, db, dh0, dc0


def problem(rng, T=4, B=3, n_x=2, n_a=5):
    return {"X": rng.normal(size=(T, B, n_x)), "WLSTM": rng.normal(size=(n_x + n_a, 4 * n_a)) / 2, "b": rng.normal(size=4 * n_a),
                "h0": rng.normal(size=(B, n_a)), "c0": rng.normal(size=(B, n_a)), "targets": rng.normal(size=(T, B, n_a))}
