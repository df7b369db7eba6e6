"""CMA-ES as the papers write it: NumPy matrices, one equation a line, no decomposition kept."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
from scipy.stats import norm


class Parameters:
    """The strategy parameters of Hansen's tutorial, table 1."""

    def __init__(self, n: int, population: int) -> None:
        raw = [math.log((population + 1) / 2) - math.log(i) for i in range(1, population + 1)]
        mu = population // 2
        self.mu = mu
        self.mu_eff = sum(raw[:mu]) ** 2 / sum(w * w for w in raw[:mu])
        mu_eff_minus = sum(raw[mu:]) ** 2 / sum(w * w for w in raw[mu:])
        self.c1 = 2 / ((n + 1.3) ** 2 + self.mu_eff)
        self.cmu = min(
            1 - self.c1 - 1e-8, 2 * (self.mu_eff - 2 + 1 / self.mu_eff) / ((n + 2) ** 2 + 2 * self.mu_eff / 2)
        )
        alpha = min(
            1 + self.c1 / self.cmu, 1 + 2 * mu_eff_minus / (self.mu_eff + 2), (1 - self.c1 - self.cmu) / (n * self.cmu)
        )
        plus, minus = sum(w for w in raw if w > 0), sum(-w for w in raw if w < 0)
        self.weights = np.array([w / plus if w >= 0 else alpha * w / minus for w in raw])
        self.c_sigma = (self.mu_eff + 2) / (n + self.mu_eff + 5)
        self.d_sigma = 1 + 2 * max(0, math.sqrt((self.mu_eff - 1) / (n + 1)) - 1) + self.c_sigma
        self.c_c = (4 + self.mu_eff / n) / (n + 4 + 2 * self.mu_eff / n)
        self.chi = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))


class Gaussian:
    """m, sigma and C, and the two paths; a decomposition that is as old as `root`."""

    def __init__(self, n: int, population: int, mean: np.ndarray, sigma: float) -> None:
        self.n, self.p = n, Parameters(n, population)
        self.mean, self.sigma, self.c = mean.copy(), sigma, np.eye(n)
        self.path, self.rank_one_path = np.zeros(n), np.zeros(n)
        self.generation = 0
        self.root_inverse = np.eye(n)

    def tell(self, steps: np.ndarray, bounded: bool = False) -> None:
        """A generation: the y of its members, best first, (members, n); whether the mean has to stay in [0, 1]."""
        p = self.p
        self.generation += 1
        step = sum(p.weights[i] * steps[i] for i in range(p.mu))
        moved = self.mean + self.sigma * step
        if bounded:
            moved = np.clip(moved, 0, 1)
            step = (moved - self.mean) / self.sigma
        self.mean = moved
        self.path = (1 - p.c_sigma) * self.path
        self.path += math.sqrt(p.c_sigma * (2 - p.c_sigma) * p.mu_eff) * self.root_inverse @ step
        length = float(np.linalg.norm(self.path))
        self.sigma *= math.exp(min(1.0, p.c_sigma / p.d_sigma * (length / p.chi - 1)))
        usual = math.sqrt(1 - (1 - p.c_sigma) ** (2 * (self.generation + 1)))
        h = float(length / usual < (1.4 + 2 / (self.n + 1)) * p.chi)
        self.rank_one_path = (1 - p.c_c) * self.rank_one_path + h * math.sqrt(p.c_c * (2 - p.c_c) * p.mu_eff) * step
        rank_mu = np.zeros((self.n, self.n))
        for weight, y in zip(p.weights, steps, strict=True):
            w = weight if weight >= 0 else weight * self.n / (np.linalg.norm(self.root_inverse @ y) ** 2 + 1e-8)
            rank_mu += w * np.outer(y, y)
        kept = 1 + p.c1 * (1 - h) * p.c_c * (2 - p.c_c) - p.c1 - p.cmu * p.weights.sum()
        self.c = kept * self.c + p.c1 * np.outer(self.rank_one_path, self.rank_one_path) + p.cmu * rank_mu

    def decompose(self) -> None:
        self.root_inverse = np.real(scipy.linalg.inv(scipy.linalg.sqrtm(self.c)))


def with_margin(mean: float, deviation: float, scale: float, edges: np.ndarray, margin: float) -> tuple[float, float]:
    """The mean and the scale of a stepped parameter whose cells lie between neighbouring edges."""
    inner = edges[1:-1]
    cell = int(np.searchsorted(inner, mean, side="right"))
    if cell in (0, len(inner)):
        edge = inner[min(cell, len(inner) - 1)]
        other = norm.cdf(-abs(mean - edge) / (deviation * scale))
        if other < margin:
            mean = edge + np.sign(mean - edge) * deviation * scale * norm.ppf(1 - margin)
        return mean, scale
    low, high = inner[cell - 1], inner[cell]
    p = np.array([norm.cdf(low, mean, deviation * scale), 0, norm.sf(high, mean, deviation * scale)])
    p[1] = 1 - p.sum()
    if min(p[0], p[2]) >= margin / 2:
        return mean, scale
    raised = np.maximum(p, margin / 2)
    raised[1] = p[1]
    under, _, over = raised + (1 - raised.sum()) * (raised - margin / 2) / (raised.sum() - 3 * margin / 2)
    down, up = norm.ppf(1 - under), norm.ppf(1 - over)
    return (low * up + high * down) / (down + up), (high - low) / ((down + up) * deviation)


class Choices:
    """Independent categorical distributions, one array of probabilities each."""

    def __init__(self, counts: list[int]) -> None:
        self.q = [np.full(k, 1 / k) for k in counts]
        self.path = [np.zeros(k - 1) for k in counts]
        self.step, self.divisor, self.chance = 1.0, 1.0, 0.0
        self.margin = 1 - 0.73 ** (1 / max(len(counts), 1))

    def tell(self, weights: np.ndarray, chosen: np.ndarray) -> None:
        """The choices of a generation's members, best first, (members, c), and the positive weights."""
        gradients, whites = [], []
        for c, q in enumerate(self.q):
            shown = np.eye(len(q))[chosen[:, c].astype(int)]
            gradient = sum(w * (one - q) for w, one in zip(weights, shown, strict=True) if w > 0)
            white = gradient[:-1] / np.sqrt(q[:-1])
            white += np.sqrt(q[:-1]) * gradient[:-1].sum() / (q[-1] + np.sqrt(q[-1]))
            gradients.append(gradient)
            whites.append(white)
        length = math.sqrt(sum(float(w @ w) for w in whites)) + 1e-30
        self.q = [q + self.step / length * g for q, g in zip(self.q, gradients, strict=True)]
        self.step = 1 / self.divisor
        rate = min(self.step / math.sqrt(sum(map(len, whites))), 1.0)
        self.path = [
            (1 - rate) * s + math.sqrt(rate * (2 - rate)) * w / length for s, w in zip(self.path, whites, strict=True)
        ]
        self.chance = (1 - rate) ** 2 * self.chance + rate * (2 - rate)
        self.divisor *= math.exp(rate * (self.chance - sum(float(s @ s) for s in self.path) / 1.5))
        for c, q in enumerate(self.q):
            least = self.margin / (len(q) - 1)
            raised = np.maximum(q, least)
            raised -= (raised.sum() - 1) * (raised - least) / (raised - least).sum()
            self.q[c] = raised / raised.sum()
