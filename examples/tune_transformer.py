"""Tune a small BERT that tells which language a word is of, with ASHA, in several processes.

    pip install -c constraints.txt -e ".[transformers]" wordfreq
    python examples/tune_transformer.py                 # two workers; about four minutes on two cores
    python examples/tune_transformer.py --workers 1

The words are the most frequent ones of ten languages, from the package `wordfreq`; those of several languages are left
out. The model is Hugging Face's BERT, made from a configuration and trained from scratch on letters; nothing is
downloaded. Its arguments come from the trial through `hyperparams_to_training_args`. A trial pauses after 1 and after 3
epochs, and goes on from its checkpoint if it is among the best; the winner is then tested on words it never saw.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is downloaded
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import transformers
from wordfreq import top_n_list

import fasthpo
from fasthpo.integrations.huggingface import HuggingFaceCallback
from fasthpo.torch import hyperparams_to_training_args

LANGUAGES = ["de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "sv"]
LONGEST = 14  # letters
MAX_EPOCHS = 9
SPACE = fasthpo.SearchSpace(
    {
        "learning_rate": fasthpo.LogUniform(1e-5, 3e-2),
        "weight_decay": fasthpo.LogUniform(1e-4, 1.0),
        "warmup_ratio": fasthpo.Continuous(0.0, 0.3),
        "per_device_train_batch_size": fasthpo.Discrete(32, 256, 32),
        "hidden_size": fasthpo.Discrete(32, 128, 32),
        "layers": fasthpo.Discrete(1, 3),
        "dropout": fasthpo.Continuous(0.0, 0.4),
    }
)


class Words(torch.utils.data.Dataset):
    """Words as letters' numbers, each with its language; the same part of them in every process."""

    def __init__(self, part: str, words_a_language: int) -> None:
        lists = {language: top_n_list(language, 3 * words_a_language + 500) for language in LANGUAGES}
        owners: dict[str, set[str]] = {}
        for language, words in lists.items():
            for word in words:
                owners.setdefault(word, set()).add(language)
        pairs = []
        for label, language in enumerate(LANGUAGES):
            own = [w for w in lists[language] if owners[w] == {language} and w.isalpha() and 4 <= len(w) <= LONGEST]
            pairs += [(word, label) for word in own[:words_a_language]]
        self.letters = sorted({letter for word, _ in pairs for letter in word})
        order = np.random.default_rng(0).permutation(len(pairs))
        first, last = {"train": (0.0, 0.6), "valid": (0.6, 0.8), "test": (0.8, 1.0)}[part]
        chosen = [pairs[i] for i in order[int(first * len(pairs)) : int(last * len(pairs))]]
        number = {letter: i + 1 for i, letter in enumerate(self.letters)}  # 0 fills words up
        ids = [[number[letter] for letter in word] + [0] * (LONGEST - len(word)) for word, _ in chosen]
        self.ids = torch.tensor(ids)
        self.labels = torch.tensor([label for _, label in chosen])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[i], "attention_mask": (self.ids[i] > 0).long(), "labels": self.labels[i]}


def make_model(trial: Any, letters: int) -> transformers.BertForSequenceClassification:
    config = transformers.BertConfig(
        vocab_size=letters + 1,
        hidden_size=trial["hidden_size"],
        num_hidden_layers=trial["layers"],
        num_attention_heads=4,
        intermediate_size=2 * trial["hidden_size"],
        hidden_dropout_prob=trial["dropout"],
        max_position_embeddings=LONGEST,
        num_labels=len(LANGUAGES),
    )
    return transformers.BertForSequenceClassification(config)


def accuracy(predictions: Any) -> dict[str, float]:
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


def trainer_of(trial: Any, train: Words, valid: Words, seed: int) -> transformers.Trainer:
    base = transformers.TrainingArguments(
        str(trial.checkpoint_dir),
        num_train_epochs=MAX_EPOCHS,  # of the schedule; the trial's resource says when to pause
        lr_scheduler_type="linear",
        per_device_eval_batch_size=512,
        eval_strategy="epoch",
        save_strategy="no",  # the callback saves when the trial pauses
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
    )
    trainer = transformers.Trainer(
        model_init=lambda: make_model(trial, len(train.letters)),
        args=hyperparams_to_training_args(base, trial, strict=False),
        train_dataset=train,
        eval_dataset=valid,
        compute_metrics=accuracy,
        callbacks=[HuggingFaceCallback(trial, "eval_loss")],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def quiet() -> None:
    """No messages and progress bars, and one thread: so small a network is slower on more."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)


class Objective:
    """Trains the trial to its resource; each process reads the words once."""

    def __init__(self, words_a_language: int, seed: int) -> None:
        self.words_a_language, self.seed = words_a_language, seed
        self.data: tuple[Words, Words] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "data": None}

    def __call__(self, trial: fasthpo.Trial) -> dict[str, float]:
        quiet()
        if self.data is None:
            self.data = Words("train", self.words_a_language), Words("valid", self.words_a_language)
        trainer = trainer_of(trial, *self.data, self.seed)
        trainer.train(resume_from_checkpoint=trial.start_resource > 0)
        measured = trainer.evaluate()
        return {"loss": measured["eval_loss"], "accuracy": measured["eval_accuracy"]}


def test(trial: fasthpo.Trial, words_a_language: int) -> float:
    """The share of unseen words that the trial's network, as it was saved, tells right."""
    saved = max(trial.checkpoint_dir.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    network = transformers.BertForSequenceClassification.from_pretrained(saved).eval()
    words = Words("test", words_a_language)
    with torch.no_grad():
        logits = network(words.ids, attention_mask=(words.ids > 0).long()).logits
    return (logits.argmax(1) == words.labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budget", type=int, default=12, help="how many full trainings all trials may cost together")
    parser.add_argument("--words", type=int, default=1500, help="words of each language (default 1500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output-dir", type=Path, default=Path("hyperopt_results"))
    args = parser.parse_args()
    quiet()

    config = fasthpo.TunerConfig(
        f"languages-{args.seed}",
        direction="minimize",
        objective_metric="loss",
        max_total_resource=args.budget * MAX_EPOCHS,
        output_dir=args.output_dir,
        save_checkpoints=True,
        overwrite=True,
    )
    sampler = fasthpo.TPESampler(seed=args.seed)
    tuner = fasthpo.HyperparameterTuner.with_asha(config, SPACE, max_resource=MAX_EPOCHS, sampler=sampler)
    result = tuner.optimize(Objective(args.words, args.seed), workers=args.workers)

    print(result)
    print(f"\n{tuner.study.strategy.summary()}\n")
    if result.statistics.best_value is None:
        raise SystemExit("no trial was trained to the end: raise --budget")
    right = test(result.best_trial, args.words)
    print(f"{len(LANGUAGES)} languages, words never seen: {right:.1%} told right")


if __name__ == "__main__":
    main()
