"""Tune a small network in batch jobs: on SLURM, or in processes of this machine that behave alike.

    python examples/tune_on_slurm.py --cluster local                       # tries it out here, a minute on two cores
    python examples/tune_on_slurm.py --folder /shared/digits --partition gpu --jobs 20      # on a login node of SLURM
    python examples/tune_on_slurm.py --folder /shared/digits --resume      # goes on after this program was killed

This program submits the jobs, decides what is tried next, and runs as long as the study: in `tmux`, or as a job of its
own. It and the jobs share the folder and nothing else. The images are scikit-learn's digits, a third of them held out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import submitit

import fasthpo

SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-5, 1e-1),
        "alpha": fasthpo.LogUniform(1e-7, 1e-1),
        "penalty": fasthpo.Categorical(["l1", "l2"]),
    }
)


def train(trial: fasthpo.Trial) -> dict[str, float]:
    """Runs in a job. What it writes to `trial.checkpoint_dir` is there if the job is lost and the trial tried again."""
    from sklearn.datasets import load_digits  # here, as this program itself does not train
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x_train, x_valid, y_train, y_valid = train_test_split(x / 16, y, test_size=1 / 3, stratify=y, random_state=0)
    model = SGDClassifier(
        "log_loss", penalty=trial["penalty"], alpha=trial["alpha"], eta0=trial["learning_rate"],
        learning_rate="constant", random_state=0,
    )  # fmt: skip
    for epoch in range(10):
        model.partial_fit(x_train, y_train, classes=range(10))
        loss = log_loss(y_valid, model.predict_proba(x_valid))
        trial.report(loss, step=epoch)
        if trial.should_prune():
            raise fasthpo.TrialPruned
    return {"loss": loss, "accuracy": model.score(x_valid, y_valid), "process": os.getpid()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", choices=["slurm", "local"], help="by default SLURM where there is one")
    parser.add_argument("--folder", type=Path, default=Path("slurm_results"), help="seen by this machine and all nodes")
    parser.add_argument("--partition", help="SLURM's (default: its own)")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time (default 2)")
    parser.add_argument("--trials-per-job", type=int, help="1: a job for each (default: as many as its time allows)")
    parser.add_argument("--minutes", type=int, default=30, help="a job's time limit (default 30)")
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()

    executor = submitit.AutoExecutor(folder=args.folder / "jobs", cluster=args.cluster)
    executor.update_parameters(timeout_min=args.minutes, cpus_per_task=1, slurm_partition=args.partition)
    config = fasthpo.TunerConfig(
        "digits",
        objective_metric="loss",
        max_trials=args.trials,
        pruning=fasthpo.PruningConfig(strategy="median", min_steps=2),
        output_dir=args.folder,
        save_checkpoints=True,
        seed=0,
    )
    tuner = fasthpo.HyperparameterTuner.with_bayesian_optimization(config, SPACE)
    if args.resume:
        tuner.load_checkpoint(config.study_dir)
    result = tuner.optimize(train, executor=executor, workers=args.jobs, trials_per_job=args.trials_per_job, retries=2)
    print(result)
    jobs = {trial.metrics["process"] for trial in result.trials if "process" in trial.metrics}
    print(f"jobs that completed trials: {len(jobs)}")


if __name__ == "__main__":
    main()
