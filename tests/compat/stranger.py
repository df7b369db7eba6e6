"""A program for Optuna as one finds them: a storage, branches, pruning; `test_stranger.py` changes its import line."""

import argparse
import math

import optuna


def create_model(trial):
    kind = trial.suggest_categorical("model", ["linear", "forest", "mlp"])
    if kind == "linear":
        return {"strength": trial.suggest_float("alpha", 1e-6, 1e1, log=True)}
    if kind == "forest":
        depth = trial.suggest_int("max_depth", 2, 32, log=True)
        return {"strength": depth / 32, "features": trial.suggest_float("max_features", 0.1, 1.0, step=0.1)}
    layers = trial.suggest_int("n_layers", 1, 3)
    units = [trial.suggest_int(f"n_units_l{i}", 4, 128, log=True) for i in range(layers)]
    if trial.suggest_categorical("dropout", [True, False]):
        units = [unit * (1 - trial.suggest_float(f"drop_l{i}", 0.0, 0.5)) for i, unit in enumerate(units)]
    return {"strength": sum(units) / 384}


def score(model, epoch, epochs):
    quality = math.exp(-abs(math.log10(model["strength"] + 1e-9) + 1)) * model.get("features", 1.0)
    return quality * (1 - 0.5 ** (epoch + 1)) + 0.01 * epoch / epochs


def objective(trial, epochs=8):
    model = create_model(trial)
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    best = 0.0
    for epoch in range(epochs):
        accuracy = score(model, epoch, epochs) - 0.02 * abs(math.log10(lr) + 3)
        best = max(best, accuracy)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.exceptions.TrialPruned()
    trial.set_user_attr("best_accuracy", best)
    return accuracy


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=30)
    arguments = parser.parse_args()
    study = optuna.create_study(
        study_name="models",
        storage="sqlite:///models.db",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=10),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=arguments.trials, timeout=600)
    pruned = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.PRUNED])
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    print(f"Finished: {len(study.trials)} trials, {len(pruned)} pruned, {len(complete)} complete")
    print("Best trial:", study.best_trial.number, "value:", study.best_trial.value)
    for key, value in study.best_trial.params.items():
        print(f"    {key}: {value}")


if __name__ == "__main__":
    main()
