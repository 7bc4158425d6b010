"""A plain recurrent net with a softmax read-out, one sequence in columns."""
import numpy as np

LEAVES = ("hprev", "Wxh", "Whh", "Why", "bh", "by")


def forward(inputs, targets, hprev, Wxh, Whh, Why, bh, by):
    h = hprev
    hs, ps = {-1: hprev}, {}
    loss = 0.0
    for t in range(len(inputs)):
        h = np.tanh(Wxh @ inputs[t] + Whh @ h + bh)
        y = Why @ h + by
        e = np.exp(y)
        p = e / np.sum(e)
        loss = loss - np.sum(targets[t] * np.log(p))
        hs[t], ps[t] = h, p
    return loss, (hs, ps)


def backward(cache, inputs, targets, hprev, Wxh, Whh, Why, bh, by):
    hs, ps = cache
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext = np.zeros_like(hs[0])
    for t in reversed(range(len(inputs))):
        dy = ps[t] - targets[t]
        dWhy += dy @ hs[t].T
        dby += dy
        dh = Why.T @ dy + dhnext
        dhraw = (1 - hs[t] * hs[t]) * dh
        dbh += dhraw
        dWxh += dhraw @ inputs[t].T
        dWhh += dhraw @ hs[t - 1].T
        dhnext = Whh.T @ dhraw
    return dWxh, dWhh, dWhy, dbh, dby, dhnext


def problem(rng, T=5, B=1, n_x=3, n_a=6):
    targets = np.zeros((T, n_x, 1))
    targets[np.arange(T), rng.integers(n_x, size=T)] = 1
    return {"inputs": rng.normal(size=(T, n_x, 1)), "targets": targets, "hprev": rng.normal(size=(n_a, 1)),
                "Wxh": rng.normal(size=(n_a, n_x)) / 2, "Whh": rng.normal(size=(n_a, n_a)) / 2, "Why": rng.normal(size=(n_x, n_a)),
                "bh": rng.normal(size=(n_a, 1)), "by": rng.normal(size=(n_x, 1))}
