"""Find the lowest point of a function with five parameters of four kinds. Needs nothing but fasthpo."""

import fasthpo

space = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-5, 1e-1),
        "batch_size": fasthpo.Discrete(8, 128, 8),
        "weight_decay": fasthpo.Continuous(0.0, 0.1),
        "optimizer": fasthpo.Categorical(["adam", "sgd"]),
        "momentum": fasthpo.Continuous(0.0, 0.99, when={"optimizer": ["sgd"]}),  # there for "sgd" only
    }
)


def objective(trial: fasthpo.Trial) -> float:
    """Stands for a training run: lowest, at 0, for sgd with learning_rate 0.01, batch_size 32 and momentum 0.9."""
    loss = abs(trial["learning_rate"] / 0.01 - 1) + abs(trial["batch_size"] - 32) / 100 + trial["weight_decay"]
    return loss + (abs(trial["momentum"] - 0.9) if trial["optimizer"] == "sgd" else 0.5)


config = fasthpo.TunerConfig("quickstart", max_trials=100, seed=0)
result = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, space).optimize(objective)
print(result)
