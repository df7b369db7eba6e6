"""Where Hydra looks for sweepers: it is installed as `hydra_plugins.fasthpo_sweeper`, and imported by every Hydra app.

What it does is in `fasthpo.integrations.hydra`, which is imported by a sweep only. Annotations are no text here: Hydra
runs the module before it is in `sys.modules`, where `dataclass` would look up what they mean.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


@dataclass
class FasthpoSweeperConf:
    """The options `hydra.sweeper...`; see `fasthpo.integrations.hydra.HydraSweep`."""

    _target_: str = "hydra_plugins.fasthpo_sweeper.FasthpoSweeper"
    direction: Any = "minimize"
    n_trials: int = 20
    n_jobs: int = 1
    sampler: Any = "auto"
    pruner: Any = None
    seed: int | None = None
    storage: str | None = None
    metric: Any = None
    max_duration: float | None = None
    trial_timeout: float | None = None
    retries: Any = 0
    devices: Any = None
    params: dict[str, Any] = field(default_factory=dict)


class FasthpoSweeper(Sweeper):  # type: ignore[misc]
    """`hydra/sweeper=fasthpo`."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._sweep: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from fasthpo.integrations.hydra import HydraSweep

        self._sweep = HydraSweep(self._options, hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweep.run(arguments)


ConfigStore.instance().store(group="hydra/sweeper", name="fasthpo", node=FasthpoSweeperConf, provider="fasthpo")
