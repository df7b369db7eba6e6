"""Fast, dependable hyperparameter optimisation.

Importing fasthpo imports nothing heavy: each public name is looked up in its module when it is first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fasthpo.compat.former_modules import find_former_modules
from fasthpo.system.lazy import lazy_attribute

if TYPE_CHECKING:
    from fasthpo import analysis as analysis
    from fasthpo import plots as plots
    from fasthpo import report as report
    from fasthpo.errors import AllTrialsFailed as AllTrialsFailed
    from fasthpo.errors import CorruptCheckpoint as CorruptCheckpoint
    from fasthpo.errors import FastHPOError as FastHPOError
    from fasthpo.errors import InvalidParameters as InvalidParameters
    from fasthpo.errors import InvalidSearchSpace as InvalidSearchSpace
    from fasthpo.errors import InvalidValue as InvalidValue
    from fasthpo.errors import MissingPackage as MissingPackage
    from fasthpo.errors import NoCompletedTrials as NoCompletedTrials
    from fasthpo.errors import NotCopyable as NotCopyable
    from fasthpo.errors import NoTrialToStart as NoTrialToStart
    from fasthpo.errors import RemoteFailure as RemoteFailure
    from fasthpo.errors import SpaceExhausted as SpaceExhausted
    from fasthpo.errors import StorageError as StorageError
    from fasthpo.errors import StudyBusy as StudyBusy
    from fasthpo.errors import StudyClosed as StudyClosed
    from fasthpo.errors import StudyExists as StudyExists
    from fasthpo.errors import StudyInUse as StudyInUse
    from fasthpo.errors import StudyReadOnly as StudyReadOnly
    from fasthpo.errors import TrialPruned as TrialPruned
    from fasthpo.errors import TrialStateError as TrialStateError
    from fasthpo.errors import UnknownTrial as UnknownTrial
    from fasthpo.errors import WorkersFailed as WorkersFailed
    from fasthpo.pruners.base import Pruner as Pruner
    from fasthpo.pruners.median import MedianPruner as MedianPruner
    from fasthpo.pruners.patient import PatientPruner as PatientPruner
    from fasthpo.pruners.percentile import PercentilePruner as PercentilePruner
    from fasthpo.pruners.successive_halving import SuccessiveHalvingPruner as SuccessiveHalvingPruner
    from fasthpo.pruners.threshold import ThresholdPruner as ThresholdPruner
    from fasthpo.pruners.wilcoxon import WilcoxonPruner as WilcoxonPruner
    from fasthpo.samplers.auto import AutoSampler as AutoSampler
    from fasthpo.samplers.base import Sampler as Sampler
    from fasthpo.samplers.cma_es import CmaEsSampler as CmaEsSampler
    from fasthpo.samplers.grid import GridSampler as GridSampler
    from fasthpo.samplers.nsga_ii import NSGAIISampler as NSGAIISampler
    from fasthpo.samplers.qmc import QMCSampler as QMCSampler
    from fasthpo.samplers.random import RandomSampler as RandomSampler
    from fasthpo.samplers.tpe import TPESampler as TPESampler
    from fasthpo.space.builder import SearchSpaceBuilder as SearchSpaceBuilder
    from fasthpo.space.comparisons import at_least as at_least
    from fasthpo.space.comparisons import at_most as at_most
    from fasthpo.space.comparisons import between as between
    from fasthpo.space.comparisons import not_in as not_in
    from fasthpo.space.encoding import Batch as Batch
    from fasthpo.space.kinds import Categorical as Categorical
    from fasthpo.space.kinds import Continuous as Continuous
    from fasthpo.space.kinds import Discrete as Discrete
    from fasthpo.space.kinds import LogUniform as LogUniform
    from fasthpo.space.normal import LogNormal as LogNormal
    from fasthpo.space.normal import Normal as Normal
    from fasthpo.space.ordinal import Ordinal as Ordinal
    from fasthpo.space.parameter import Parameter as Parameter
    from fasthpo.space.prior import Prior as Prior
    from fasthpo.space.search_space import SearchSpace as SearchSpace
    from fasthpo.strategies.asha import ASHA as ASHA
    from fasthpo.strategies.base import Strategy as Strategy
    from fasthpo.strategies.hyperband import Hyperband as Hyperband
    from fasthpo.strategies.pb2 import PB2 as PB2
    from fasthpo.strategies.population_training import PopulationTraining as PopulationTraining
    from fasthpo.strategies.single_fidelity import BayesianOptimization as BayesianOptimization
    from fasthpo.strategies.single_fidelity import GridSearch as GridSearch
    from fasthpo.strategies.single_fidelity import RandomSearch as RandomSearch
    from fasthpo.strategies.successive_halving import SuccessiveHalving as SuccessiveHalving
    from fasthpo.study.schedule import Schedule as Schedule
    from fasthpo.study.schedule import SchedulePiece as SchedulePiece
    from fasthpo.study.study import Study as Study
    from fasthpo.trials.evaluations import Estimate as Estimate
    from fasthpo.trials.trial import Trial as Trial
    from fasthpo.trials.trial import TrialMetrics as TrialMetrics
    from fasthpo.trials.trial import TrialResult as TrialResult
    from fasthpo.trials.trial import TrialState as TrialState
    from fasthpo.tuner.callbacks import HyperparameterCallback as HyperparameterCallback
    from fasthpo.tuner.callbacks import LoggingCallback as LoggingCallback
    from fasthpo.tuner.config import EarlyStoppingConfig as EarlyStoppingConfig
    from fasthpo.tuner.config import NoImprovement as NoImprovement
    from fasthpo.tuner.config import PruningConfig as PruningConfig
    from fasthpo.tuner.config import TunerConfig as TunerConfig
    from fasthpo.tuner.early_stopping import EarlyStopping as EarlyStopping
    from fasthpo.tuner.results import StopReason as StopReason
    from fasthpo.tuner.results import StudyStatistics as StudyStatistics
    from fasthpo.tuner.results import TuningResult as TuningResult
    from fasthpo.tuner.tuner import HyperparameterTuner as HyperparameterTuner

find_former_modules()

__version__ = "0.1.0"

_HOMES = {
    "tuner.callbacks": ["HyperparameterCallback", "LoggingCallback"],
    "space.encoding": ["Batch"],
    "tuner.config": ["EarlyStoppingConfig", "NoImprovement", "PruningConfig", "TunerConfig"],
    "tuner.early_stopping": ["EarlyStopping"],
    "errors": [
        "AllTrialsFailed",
        "CorruptCheckpoint",
        "FastHPOError",
        "InvalidParameters",
        "InvalidSearchSpace",
        "InvalidValue",
        "MissingPackage",
        "NoCompletedTrials",
        "NotCopyable",
        "NoTrialToStart",
        "RemoteFailure",
        "SpaceExhausted",
        "StorageError",
        "StudyBusy",
        "StudyClosed",
        "StudyExists",
        "StudyInUse",
        "StudyReadOnly",
        "TrialPruned",
        "TrialStateError",
        "UnknownTrial",
        "WorkersFailed",
    ],
    "pruners.base": ["Pruner"],
    "pruners.median": ["MedianPruner"],
    "pruners.patient": ["PatientPruner"],
    "pruners.percentile": ["PercentilePruner"],
    "pruners.successive_halving": ["SuccessiveHalvingPruner"],
    "pruners.threshold": ["ThresholdPruner"],
    "pruners.wilcoxon": ["WilcoxonPruner"],
    "tuner.results": ["StopReason", "StudyStatistics", "TuningResult"],
    "samplers.auto": ["AutoSampler"],
    "samplers.base": ["Sampler"],
    "samplers.cma_es": ["CmaEsSampler"],
    "samplers.grid": ["GridSampler"],
    "samplers.nsga_ii": ["NSGAIISampler"],
    "samplers.qmc": ["QMCSampler"],
    "samplers.random": ["RandomSampler"],
    "samplers.tpe": ["TPESampler"],
    "space.builder": ["SearchSpaceBuilder"],
    "space.comparisons": ["at_least", "at_most", "between", "not_in"],
    "space.kinds": ["Categorical", "Continuous", "Discrete", "LogUniform"],
    "space.normal": ["LogNormal", "Normal"],
    "space.ordinal": ["Ordinal"],
    "space.parameter": ["Parameter"],
    "space.prior": ["Prior"],
    "space.search_space": ["SearchSpace"],
    "strategies.asha": ["ASHA"],
    "strategies.base": ["Strategy"],
    "strategies.hyperband": ["Hyperband"],
    "strategies.pb2": ["PB2"],
    "strategies.population_training": ["PopulationTraining"],
    "strategies.single_fidelity": ["BayesianOptimization", "GridSearch", "RandomSearch"],
    "strategies.successive_halving": ["SuccessiveHalving"],
    "study.schedule": ["Schedule", "SchedulePiece"],
    "study.study": ["Study"],
    "trials.evaluations": ["Estimate"],
    "trials.trial": ["Trial", "TrialMetrics", "TrialResult", "TrialState"],
    "tuner.tuner": ["HyperparameterTuner"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("analysis", "plots", "report")  # found as attributes without an import of their own

__all__ = sorted(_HOME)  # noqa: PLE0605  (a list of str, though not a literal)


if not TYPE_CHECKING:  # or type checkers would take every misspelt name for a known one

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"fasthpo.{name}")
        return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return [*__all__, *_MODULES, "__version__"]
