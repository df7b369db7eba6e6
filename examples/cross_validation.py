"""Cross-validation inside a trial: each fold is reported, so that a poor trial is given up before its last fold.

Tunes a support vector machine on scikit-learn's breast cancer data (569 real biopsies) with 8 folds a trial.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import fasthpo

FOLDS = 8
SPACE = fasthpo.SearchSpace(
    {
        "C": fasthpo.LogUniform(1e-3, 1e3),
        "kernel": fasthpo.Categorical(["linear", "rbf", "poly"]),
        "gamma": fasthpo.LogUniform(1e-6, 1e1, when={"kernel": ["rbf", "poly"]}),
        "degree": fasthpo.Discrete(2, 5, when={"kernel": ["poly"]}),
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    X, y = load_breast_cancer(return_X_y=True)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, y))

    def objective(trial: fasthpo.Trial) -> float:
        scores: list[float] = []
        for fold, (train, test) in enumerate(folds):
            model = make_pipeline(StandardScaler(), SVC(**trial))
            scores.append(model.fit(X[train], y[train]).score(X[test], y[test]))
            trial.report(np.mean(scores), fold)  # the mean so far: comparable from fold to fold
            if trial.should_prune():
                raise fasthpo.TrialPruned
        return float(np.mean(scores))

    config = fasthpo.TunerConfig(
        "cross_validation",
        direction="maximize",
        max_trials=args.trials,
        pruning=fasthpo.PruningConfig(strategy="median", min_steps=1),
        seed=args.seed,
    )
    result = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, SPACE).optimize(objective)
    print(result)
    trained = sum(len(trial.reports) for trial in result.trials)
    everything = FOLDS * len(result.trials)
    print(f"folds trained: {trained} of {everything}, {100 * (1 - trained / everything):.0f} % saved by pruning")


if __name__ == "__main__":
    main()
