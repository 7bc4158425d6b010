"""The paper's other stages as models: Mazur's worked example, and a convolutional net on digits."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import minigrad as mg
import models.__main__ as cli
from minigrad.graph import named
from minigrad.testing import check_grads
from models import mlp
from models.conv_net import ConvNet, accuracy, digits, train
from models.mlp import MLP

BEFORE, AFTER, IN_PLACE = 0.298371109, 0.291027774, 0.291027924
W1, W2 = [0.149780716, 0.19956143, 0.24975114, 0.29950229], [0.35891648, 0.408666186, 0.511301270, 0.561370121]


# --- Mazur ---------------------------------------------------------------------------------


def test_mazurs_update_to_the_digit():
    model = mlp.mazur()
    assert mlp.error(model).item() == pytest.approx(BEFORE, abs=5e-10)
    mlp.update(model)
    for layer, weights, bias in zip(model.layers, (W1, W2), mlp.BIASES, strict=True):
        np.testing.assert_allclose(layer.weight.data.ravel(), weights, rtol=0, atol=6e-9)
        np.testing.assert_array_equal(layer.bias.data, bias)
    assert mlp.error(model).item() == pytest.approx(AFTER, abs=5e-10)


def test_the_blogs_error_comes_from_an_update_in_place():
    """E14: both numbers from the same lines, which differ by the weights that the hidden layer is reached through."""
    right, blog = (mlp.update_by_hand(mlp.WEIGHTS, in_place) for in_place in (False, True))
    assert mlp.error_by_hand(right) == pytest.approx(AFTER, abs=5e-10)
    assert mlp.error_by_hand(blog) == pytest.approx(IN_PLACE, abs=5e-10)
    np.testing.assert_array_equal(right[1], blog[1])  # the output layer's gradient is taken first
    assert np.abs(right[0] - blog[0]).max() > 1e-6
    model = mlp.mazur()
    mlp.update(model)
    for layer, by_hand in zip(model.layers, right, strict=True):
        np.testing.assert_allclose(layer.weight.data, by_hand, rtol=1e-15)


@pytest.mark.parametrize(("in_place", "error", "outs"), [
    (False, 3.51019e-5, (0.01591362, 0.98406427)), (True, 3.50848e-5, (0.0159122, 0.98406573))])  # fmt: skip
def test_mazur_after_ten_thousand_updates(in_place, error, outs):
    weights = mlp.WEIGHTS
    for _ in range(10_000):
        weights = mlp.update_by_hand(weights, in_place)
    assert mlp.error_by_hand(weights) == pytest.approx(error, rel=2e-6)
    np.testing.assert_allclose(mlp.forward_by_hand(weights)[-1], outs, atol=6e-9)


def test_the_gradient_of_an_mlp_has_three_witnesses(rng):
    model = MLP((3, 5, 4, 2), activation=mg.tanh, output=mg.positive, dtype=np.float64, rng=rng)
    x, target = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    loss = lambda model: (0.5 * mg.square(target - model(x))).sum()  # noqa: E731
    gradients = mg.grad(loss)(model)
    assert check_grads(loss, model)
    outs = [x]
    for k, layer in enumerate(model.layers):
        net = outs[-1] @ layer.weight.data.T + layer.bias.data
        outs.append(net if k == 2 else np.tanh(net))
    d_net = outs[-1] - target
    for k in (2, 1, 0):
        np.testing.assert_allclose(gradients[f"layers.{k}.weight"].data, d_net.T @ outs[k], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(gradients[f"layers.{k}.bias"].data, d_net.sum(0), rtol=1e-12, atol=1e-14)
        d_net = d_net @ model.layers[k].weight.data * (1 - outs[k] ** 2)


def test_the_stages_of_an_mlp_have_mazurs_names():
    error = mlp.error(mlp.mazur(), named=True)
    assert {"x", "target", "net_1", "out_1", "net_2", "out_2"} <= set(named(error._node))
    assert "δnet_2 = (out_2 − target) ⊙ out_2 ⊙ (1 − out_2)" in mg.explain(error).text()
    with pytest.raises(mg.MinigradError, match="of each layer; write MLP"):
        MLP([3])


def test_the_command_shows_both_errors(capsys):
    assert cli.main(["mazur", "--updates", "3"]) == 0
    out = capsys.readouterr().out
    for shown in (BEFORE, AFTER, IN_PLACE, *W2):
        assert f"{shown:.9f}" in out
    assert cli.main(["mazur", "--updates", "0"]) == 2


# --- the convolutional net --------------------------------------------------------------------


def by_loops(p, image, label):
    """The net's loss and gradients for one image, patch by patch and window by window, in plain NumPy."""

    def convolved(x, W, b):
        wide = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        y = np.empty((len(W), *x.shape[1:]))
        for k, i, j in np.ndindex(y.shape):
            y[k, i, j] = np.sum(W[k] * wide[:, i : i + 3, j : j + 3]) + b[k]
        return y

    def convolved_back(d_y, x, W):
        wide = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        d_wide, d_W = np.zeros_like(wide), np.zeros_like(W)
        for k, i, j in np.ndindex(d_y.shape):
            d_wide[:, i : i + 3, j : j + 3] += d_y[k, i, j] * W[k]
            d_W[k] += d_y[k, i, j] * wide[:, i : i + 3, j : j + 3]
        return d_wide[:, 1:-1, 1:-1], d_W, d_y.sum(axis=(1, 2))

    def windows(x):
        return (((k, i, j), x[k, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2])
                for k, i, j in np.ndindex(len(x), x.shape[1] // 2, x.shape[2] // 2))  # fmt: skip

    def pooled(x):
        y = np.empty((len(x), x.shape[1] // 2, x.shape[2] // 2))
        for at, window in windows(x):
            y[at] = window.max()
        return y

    def pooled_back(d_y, x):
        d_x = np.zeros_like(x)
        for (k, i, j), window in windows(x):
            m, n = np.unravel_index(window.argmax(), (2, 2))
            d_x[k, 2 * i + m, 2 * j + n] = d_y[k, i, j]
        return d_x

    x = image[None]
    sum_1 = convolved(x, p["patches_1.weight"], p["patches_1.bias"])
    pool_1 = pooled(np.maximum(sum_1, 0))
    sum_2 = convolved(pool_1, p["patches_2.weight"], p["patches_2.bias"])
    pool_2 = pooled(np.maximum(sum_2, 0))
    scores = p["scores.weight"] @ pool_2.ravel() + p["scores.bias"]
    probabilities = np.exp(scores) / np.exp(scores).sum()

    d_scores = probabilities - np.eye(10)[label]
    grads = {"scores.weight": np.outer(d_scores, pool_2), "scores.bias": d_scores}
    d_pool_2 = (p["scores.weight"].T @ d_scores).reshape(pool_2.shape)
    d_sum_2 = pooled_back(d_pool_2, np.maximum(sum_2, 0)) * (sum_2 > 0)
    d_pool_1, grads["patches_2.weight"], grads["patches_2.bias"] = convolved_back(d_sum_2, pool_1, p["patches_2.weight"])
    d_sum_1 = pooled_back(d_pool_1, np.maximum(sum_1, 0)) * (sum_1 > 0)
    grads["image"], grads["patches_1.weight"], grads["patches_1.bias"] = convolved_back(d_sum_1, x, p["patches_1.weight"])
    return -np.log(probabilities[label]), grads


def test_the_gradient_of_the_conv_net_has_three_witnesses(rng):
    """The engine; loops in plain NumPy; central differences along random directions, away from kinks."""
    model = ConvNet((2, 3), dtype=np.float64, rng=rng)
    images, labels = rng.normal(size=(2, 8, 8)), np.array([3, 8])
    inputs = mg.tensor(images, requires_grad=True)
    loss = mg.cross_entropy(model(inputs), labels)
    loss.backward()
    params = {name: p.numpy() for name, p in model.named_parameters().items()}
    parts = [by_loops(params, image, label) for image, label in zip(images, labels, strict=True)]
    assert loss.item() == pytest.approx(np.mean([value for value, _ in parts]), rel=1e-13)
    for name, p in model.named_parameters().items():
        want = np.mean([grads[name] for _, grads in parts], axis=0)
        np.testing.assert_allclose(p.grad.data, want, rtol=1e-12, atol=1e-14, err_msg=name)
    want = np.concatenate([grads["image"] for _, grads in parts]) / 2
    np.testing.assert_allclose(inputs.grad.data, want, rtol=1e-12, atol=1e-14)
    assert check_grads(lambda model: mg.cross_entropy(model(images), labels), model)


def test_the_conv_net_reads_digits():
    """At least 97 of 100 of those held out, after a few seconds."""
    pytest.importorskip("sklearn", reason="the images come with scikit-learn")
    data = digits()
    assert data.images.shape == (1437, 8, 8)
    assert data.test_images.shape == (360, 8, 8)
    rng = np.random.default_rng(0)
    model = ConvNet(rng=rng)
    assert accuracy(model, data.test_images, data.test_labels) < 0.3
    losses = list(train(model, data.images, data.labels, epochs=10, rng=rng))
    assert len(losses) == 10
    assert losses[-1] < 0.1 * losses[0]
    assert accuracy(model, data.test_images, data.test_labels) >= 0.97
    np.testing.assert_allclose(model.probabilities(data.test_images[:5]).sum(axis=1), 1, rtol=1e-6)


def test_what_is_asked_wrongly_is_told(monkeypatch, capsys):
    with pytest.raises(mg.MinigradError, match="batch=5, epochs=15 for 3 images; a batch of 1 to 3"):
        next(train(ConvNet(), np.zeros((3, 8, 8), "f"), np.zeros(3, int), batch=5))
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert cli.main(["digits"]) != 0
    assert "pip install 'minigrad-engine[experiments]'" in capsys.readouterr().err
