"""A class; lists with an entry per time step; input and recurrent weights apart; a mask over time."""
import numpy as np

LEAVES = ("weights",)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


class Net:
    def __init__(self, **weights):
        for name, w in weights.items():
            setattr(self, name, w)

    def forward(self, xs, y, mask):
        self.xs, self.y, self.mask = xs, y, mask
        h, c = self.h0, self.c0
        self.hs, self.cs, self.fs, self.is_, self.os, self.gs = [h], [c], [None], [None], [None], [None]
        loss = 0.0
        for t in range(1, len(xs) + 1):
            x = xs[t - 1]
            zf = x @ self.Wf + h @ self.Uf + self.bf
            zi = x @ self.Wi + h @ self.Ui + self.bi
            zo = x @ self.Wo + h @ self.Uo + self.bo
            zg = x @ self.Wg + h @ self.Ug + self.bg
            f, i, o, g = sigmoid(zf), sigmoid(zi), sigmoid(zo), np.tanh(zg)
            c = f * c + i * g
            h = o * np.tanh(c)
            loss = loss + np.sum(mask[t - 1] * (h - y[t - 1])**2)
            for store, value in ((self.hs, h), (self.cs, c), (self.fs, f), (self.is_, i), (self.os, o), (self.gs, g)):
                store.append(value)
        return loss

    def backward(self):
        T = len(self.xs)
        dhs = [np.zeros_like(self.hs[0]) for _ in range(T + 1)]
        dcs = [np.zeros_like(self.cs[0]) for _ in range(T + 1)]
        dxs = [None] * T
        for name in ("Wf", "Wi", "Wo", "Wg", "Uf", "Ui", "Uo", "Ug", "bf", "bi", "bo", "bg"):
            setattr(self, "d" + name, np.zeros_like(getattr(self, name)))
        for t in range(T, 0, -1):
            x, h_prev, c_prev = self.xs[t - 1], self.hs[t - 1], self.cs[t - 1]
            f, i, o, g = self.fs[t], self.is_[t], self.os[t], self.gs[t]
            tanh_c = np.tanh(self.cs[t])
            dhs[t] += 2 * self.mask[t - 1] * (self.hs[t] - self.y[t - 1])
            dcs[t] += dhs[t] * o * (1 - tanh_c**2)
            do = dhs[t] * tanh_c
            df = dcs[t] * c_prev
            di = dcs[t] * g
            dg = dcs[t] * i
            dzf = df * f * (1 - f)
            dzi = di * i * (1 - i)
            dzo = do * o * (1 - o)
            dzg = dg * (1 - g**2)
            self.dWf += x.T @ dzf
            self.dWi += x.T @ dzi
            self.dWo += x.T @ dzo
            self.dWg += x.T @ dzg
            self.dUf += h_prev.T @ dzf
            self.dUi += h_prev.T @ dzi
            self.dUo += h_prev.T @ dzo
            self.dUg += h_prev.T @ dzg
            self.dbf += dzf.sum(0)
            self.dbi += dzi.sum(0)
            self.dbo += dzo.sum(0)
            self.dbg += dzg.sum(0)
            dhs[t - 1] = dzf @ self.Uf.T + dzi @ self.Ui.T + dzo @ self.Uo.T + dzg @ self.Ug.T
            dcs[t - 1] = dcs[t] * f
            dxs[t - 1] = dzf @ self.Wf.T + dzi @ self.Wi.T + dzo @ self.Wo.T + dzg @ self.Wg.T
        return {name: getattr(self, name) for name in vars(self) if name.startswith("d")} | {"dxs": dxs, "dhs": dhs, "dcs": dcs}


def forward(weights, xs, y, mask):
    net = Net(**weights)
    return net.forward(xs, y, mask), net


def backward(net, weights, xs, y, mask):
    return net.backward()


def problem(rng, T=4, B=3, n_x=2, n_a=5):
    w = {}
    for g in "fiog":
        w["W" + g], w["U" + g], w["b" + g] = rng.normal(size=(n_x, n_a)) / 2, rng.normal(size=(n_a, n_a)) / 2, rng.normal(size=n_a)
    mask = (rng.random((T, B, 1)) < .7).astype(float)
    mask[::2, 0], mask[1::2, 0] = 0, 1
    return {"weights": w | {"h0": rng.normal(size=(B, n_a)), "c0": rng.normal(size=(B, n_a))},
                "xs": rng.normal(size=(T, B, n_x)), "y": rng.normal(size=(T, B, n_a)), "mask": mask}
