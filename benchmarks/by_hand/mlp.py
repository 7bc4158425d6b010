# ruff: noqa: RUF059
"""Two layers, relu, dropout, softmax cross-entropy averaged over the batch, weight decay."""
import numpy as np

LEAVES = ("W1", "b1", "W2", "b2")


def forward(X, Y, W1, b1, W2, b2, keep, reg):
    m = X.shape[0]
    Z1 = X @ W1 + b1
    A1 = np.maximum(Z1, 0)
    D1 = A1 * keep
    Z2 = D1 @ W2 + b2
    E = np.exp(Z2 - np.max(Z2, axis=1, keepdims=True))
    P = E / np.sum(E, axis=1, keepdims=True)
    loss = -np.sum(Y * np.log(P)) / m + 0.5 * reg * (np.sum(W1 * W1) + np.sum(W2 * W2))
    return loss, (Z1, A1, D1, Z2, P)


def backward(cache, X, Y, W1, b1, W2, b2, keep, reg):
    Z1, A1, D1, Z2, P = cache
    m = X.shape[0]
    dZ2 = (P - Y) / m
    dW2 = D1.T @ dZ2 + reg * W2
    db2 = dZ2.sum(axis=0)
    dD1 = dZ2 @ W2.T
    dA1 = dD1 * keep
    dZ1 = dA1 * (Z1 > 0)
    dW1 = X.T @ dZ1 + reg * W1
    db1 = dZ1.sum(axis=0)
    return dW1, db1, dW2, db2


def problem(rng, T=0, B=7, n_x=4, n_a=6):
    Y = np.zeros((B, 3))
    Y[np.arange(B), rng.integers(3, size=B)] = 1
    return {"X": rng.normal(size=(B, n_x)), "Y": Y, "W1": rng.normal(size=(n_x, n_a)), "b1": rng.normal(size=n_a),
                "W2": rng.normal(size=(n_a, 3)), "b2": rng.normal(size=3), "keep": (rng.random((B, n_a)) < .7) / .7, "reg": 0.1}
