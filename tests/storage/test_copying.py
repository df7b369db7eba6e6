"""Copies of weights: links in them lead to the copy, not back to what was copied; what is read-only goes, too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fasthpo
from fasthpo.storage.copying import copy_tree


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of an epoch, with links as trainers leave them beside it."""
    directory, outside = tmp_path / "weights", tmp_path / "outside"
    (directory / "epoch-3").mkdir(parents=True)
    (directory / "epoch-3" / "model").write_text("3")
    outside.write_text("of all")
    try:
        (directory / "latest").symlink_to("epoch-3", target_is_directory=True)
        (directory / "best").symlink_to(directory / "epoch-3" / "model")
        (directory / "all").symlink_to(".", target_is_directory=True)
        (directory / "vocabulary").symlink_to(outside)
        (directory / "gone").symlink_to(tmp_path / "nothing")
    except OSError:
        pytest.skip("links can't be made here")
    return directory


def test_links_lead_to_the_copy(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_tree(weights, copy)
    assert sorted(path.name for path in copy.iterdir()) == ["all", "best", "epoch-3", "latest", "vocabulary"]
    assert (copy / "latest").is_symlink() and (copy / "best").is_symlink()
    for link, place in (("latest", "epoch-3"), ("best", "epoch-3/model"), ("all", ".")):
        assert (copy / link).resolve() == (copy / place).resolve()
    assert not (copy / "vocabulary").is_symlink() and (copy / "vocabulary").read_text() == "of all"


def test_members_go_on_from_weights_with_links(weights: Path, tmp_path: Path) -> None:
    """One that its parent made is a link for the child, too, and changing what it leads to leaves the parent's alone."""

    def objective(trial: fasthpo.Trial) -> float:
        latest = trial.checkpoint_dir / "latest"
        if trial.start_resource == 0:
            copy_tree(weights, trial.checkpoint_dir, exist_ok=True)
        assert latest.is_symlink()
        (latest / "model").write_text(str(trial.number))
        latest.unlink()
        latest.symlink_to("epoch-3", target_is_directory=True)
        return float(trial["rate"])

    strategy = fasthpo.PopulationTraining(4, 4, sampler=fasthpo.RandomSampler(seed=0))
    study = fasthpo.Study({"rate": fasthpo.Continuous(0, 1)}, strategy=strategy)
    while (trial := study.ask_within()) is not None:
        study.tell(trial, objective(trial))
    assert len(study) > 4
    for trial in study.trials:
        if trial.state.name == "COMPLETE":
            assert (trial.checkpoint_dir / "best").read_text() == str(trial.number)
    study.keep_at(tmp_path / "study")
    kept = study.best_trial.checkpoint_dir
    assert kept.is_relative_to(tmp_path) and (kept / "latest").resolve() == (kept / "epoch-3").resolve()


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="nothing is read-only for this user")
@pytest.mark.parametrize("synchronous", [True, False])
def test_weights_that_are_read_only_are_removed_with_those_of_the_dead(tmp_path: Path, synchronous: bool) -> None:
    """Such as the objects of a repository that lies among them."""

    def objective(trial: fasthpo.Trial) -> float:
        objects = trial.checkpoint_dir / "of" / "objects"
        if not objects.exists():
            objects.mkdir(parents=True)
            (objects / "0").touch()
            (objects / "0").chmod(0o444)
            objects.chmod(0o555)
        return float(trial["rate"])

    strategy = fasthpo.PopulationTraining(
        4, 4, synchronous=synchronous, sampler=fasthpo.RandomSampler(seed=0), quantile=0.5
    )
    study = fasthpo.Study({"rate": fasthpo.Continuous(0, 1)}, strategy=strategy, storage=tmp_path / "study")
    while (trial := study.ask_within()) is not None:
        study.tell(trial, objective(trial))
    holders = {trial.member: trial.number for trial in study.trials}.values()
    assert len(study) > 4
    left = sorted(path.name for path in study.checkpoints.root.iterdir())
    assert left == sorted(f"trial-{number}" for number in holders)
    study.close()
    fasthpo.Study({"rate": fasthpo.Continuous(0, 1)}).keep_at(tmp_path / "study", overwrite=True)
    assert not list((tmp_path / "study").glob("checkpoints/*"))
