"""What a normal distribution as a guess is worth, and on how wide an axis samplers move that learn.

    python benchmarks/normal_numbers.py            # about ten minutes

Four parameters `Normal(0, 1)`, beside `Continuous(-5, 5)`. The best point is normally distributed, too, with a standard
deviation of 0.3 (the guess is better than it says), 1 (as it says) or 2 (worse). The functions are a quadratic one with
weights from 0.1 to 10, and one with a cusp and local minima. Regret, geometric mean over paired seeds, and p of
Wilcoxon's signed-rank test against the width that is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.stats import wilcoxon

import fasthpo
from fasthpo.space import normal

SEEDS = 24
WIDTHS = (1.0, 2.0, 4.0, 6.0, None)  # None: `Continuous`
TAKEN = normal._WIDER
SAMPLERS: dict[str, tuple[Callable[[int], fasthpo.Sampler], tuple[int, ...]]] = {
    "TPE": (lambda seed: fasthpo.TPESampler(seed=seed), (40, 100)),
    "CMA-ES": (lambda seed: fasthpo.CmaEsSampler(seed=seed), (100, 400)),
}


def regrets(name: str, width: float | None, seed: int, spread: float, smooth: bool) -> list[float]:
    """The regret after some numbers of trials."""
    make, stops = SAMPLERS[name]
    random = np.random.default_rng(seed)
    best = np.clip(spread * random.normal(size=4), -4.5, 4.5)
    weights = 10 ** random.uniform(-1, 1, 4)
    if width is not None:
        normal._WIDER = width
    kind = fasthpo.Continuous(-5.0, 5.0) if width is None else fasthpo.Normal(0.0, 1.0)
    study = fasthpo.Study({f"x{i}": kind for i in range(4)}, sampler=make(seed))
    found = []
    for number in range(1, stops[-1] + 1):
        trial = study.ask()
        off = np.array(list(trial.params.values())) - best
        if smooth:
            study.tell(trial, float((weights * off**2).sum()))
        else:
            study.tell(trial, float((weights * np.abs(off) + 1 - np.cos(3 * off)).sum()))
        if number in stops:
            found.append(study.best_value)
    return found


def main() -> None:
    for name, (_, stops) in SAMPLERS.items():
        for smooth in (True, False):
            for spread in (0.3, 1.0, 2.0):
                runs = {
                    width: np.log([regrets(name, width, seed, spread, smooth) for seed in range(SEEDS)])
                    for width in WIDTHS
                }
                for k, stop in enumerate(stops):
                    cells = []
                    for width, logs in runs.items():
                        p = "" if width == TAKEN else f" (p {wilcoxon(logs[:, k], runs[TAKEN][:, k]).pvalue:.2g})"
                        cells.append(f"{width or 'uniform'}: {math.exp(logs[:, k].mean()):.2g}{p}")
                    print(name, "smooth" if smooth else "rough", spread, stop, " | ".join(cells), sep=", ", flush=True)


if __name__ == "__main__":
    main()
