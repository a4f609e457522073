"""RayBackend: stages at the places that Ray Tune's trials are.

Tune places trials and reports. What runs, in which order, is
decided by our schedule through a `Searcher`; what is done is decided by the store. Hence no state
of Tune's is ever needed to go on: every launch is a fresh experiment over the missing stages, and
Tune's own loggers, snapshots and checkpoints are off.

Measured of Ray 2.60, and the reason for what looks odd here:

- without max_concurrent_trials a custom searcher starts one actor at a time;
- without reuse_actors every trial pays about 1.2 s of process start-up;
- a trial that Tune ends during a reset is never reported to the searcher (`Watch` finds it);
- one worker killed for want of memory raises out of ``fit()`` and ends everything (hence the loop
  in `run`, and Ray's memory monitor off: the kernel's kill is an ordinary, retried death).
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from orchestrator.backend import Backend, OnReport, settler
from orchestrator.errors import ConfigError, SweepError
from orchestrator.files import log
from orchestrator.ray_api import RayError, cloudpickle, logs_folder, tune
from orchestrator.ray_cluster import cluster, grows, knock, last_line, live_nodes
from orchestrator.ray_gate import Gate
from orchestrator.ray_shapes import AHEAD, MOST, Shape
from orchestrator.ray_trial import StageTrial
from orchestrator.ray_watch import Watch
from orchestrator.schedule import Schedule
from orchestrator.store import Store
from orchestrator.worker import Options, Report

FIT_ATTEMPTS = 5  # of Tune, one after the other, in which no stage ends
SHARE = 0.25  # of a GPU, where nothing else is asked for


class Feeding(tune.Stopper):
    """Where the gate hears what trials report, before Tune asks them for more; it ends those that get no more stages.

    It ends Tune when nothing is left, or, after a request to stop, only what waits: its node may never come.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial is over."""
        return self._gate.told(trial_id, result)

    def stop_all(self) -> bool:
        """Whether nothing is left to wait for."""
        return self._gate.is_over

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as in `Gate`."""
        return {}


@dataclass(frozen=True)
class RayBackend(Backend):
    """Stages on a Ray cluster.

    Attributes:
        address: Of a running cluster (``host:port`` or ``auto``); None starts one on this machine.
        slots: Stages at once; None for one per core of this machine, or all that a cluster at
            `address` has room for, which grows with it, up to 1,000.
        cpus_per_stage: Cores that a stage asks of Ray.
        gpus_per_stage: GPUs that a stage asks for, a fraction or whole; None for a quarter where
            the cluster has GPUs and none where it has not. A stage that runs out of its device's
            memory is given twice as much, up to a whole one.
        by_value: The user's own sweep file as a module, whose classes travel to the workers.
    """

    address: str | None = None
    slots: int | None = None
    cpus_per_stage: float = 1.0
    gpus_per_stage: float | None = None
    by_value: ModuleType | None = None

    def __post_init__(self) -> None:
        gpus = self.gpus_per_stage or 0
        if self.cpus_per_stage < 0 or gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise ConfigError(
                f"cpus_per_stage={self.cpus_per_stage}, gpus_per_stage={gpus}: give numbers of at least 0, and GPUs as "
                f"a fraction of one or a whole number of them."
            )
        if self.slots is not None and self.slots < 1:
            raise ConfigError(f"slots={self.slots}: give at least 1.")
        if not (self.cpus_per_stage or gpus):
            raise ConfigError("cpus_per_stage=0: a stage must ask for something; give some CPU or some GPU.")
        if self.address is not None:
            knock(self.address)

    @property
    def workers(self) -> int | None:
        """See `Backend.workers`."""
        return self.slots or (None if self.address else len(os.sched_getaffinity(0)))

    def run(self, schedule: Schedule, store: Store, options: Options, on_report: OnReport) -> None:
        """See `Backend.run`. Whatever ends Tune early, what is missing is started again."""

        def told(report: Report, blocked: list[str]) -> None:
            gate.over([report.key, *blocked])
            on_report(report, blocked)

        cores = max(1, math.ceil((self.workers or 1) * self.cpus_per_stage))
        with cluster(self.address, cores), tempfile.TemporaryDirectory(prefix="warmgrid-ray-") as scratch:
            if self.by_value is not None:
                cloudpickle.register_pickle_by_value(self.by_value)
            gate = Gate(
                settler(schedule, store, options, told),
                store,
                options,
                gpu_shape=self._shape(options.device),
                cpus=self.cpus_per_stage,
                note=partial(store.note_event, launch=options.launch, sweep=options.sweep),
            )
            self._run(gate, schedule, scratch)

    def _run(self, gate: Gate, schedule: Schedule, scratch: str) -> None:
        watch = Watch(gate, most=self._most, can_grow=grows if self.address else lambda: False)
        in_vain = 0
        for attempt in itertools.count():
            left = gate.left
            try:
                watch.forget_trials()
                watch.look_at_nodes()  # what there is room for
                self._fit(gate, watch, f"{scratch}/{attempt}")
                gate.settle_all()
                return
            except (RuntimeError, RayError) as error:  # what Tune makes of anything it did not expect
                gate.note("tune_stopped", error=last_line(error))
                gate.settle_all()
                if schedule.is_stopped:
                    return
                in_vain = in_vain + 1 if gate.left == left else 1
                if in_vain == FIT_ATTEMPTS:
                    raise SweepError(
                        f"Ray Tune stopped {in_vain} times, and no stage ended between: {last_line(error)}. What is "
                        f"committed is kept, and `warmgrid resume` goes on; Ray's logs are in {logs_folder()}."
                    ) from error
                log.warning("Ray Tune stopped (%s); starting the missing stages again.", last_line(error))

    @property
    def _most(self) -> int | None:
        """Places that Tune may have at once; some wait where our own cluster has no room for more than `workers`."""
        workers, cpus = self.workers or 1, self.cpus_per_stage
        has_more = not cpus or int(math.ceil(workers * cpus) / cpus + 1e-9) > workers
        return self.slots if self.address else workers + (0 if has_more else AHEAD)

    def _shape(self, device: str | None) -> Shape:
        """What one stage that may have a GPU asks of Ray.

        Raises:
            ConfigError: no machine of the cluster can ever give it.
        """
        gpus = self.gpus_per_stage
        if gpus is None:
            has_gpus = any(node.resources.get("GPU") for node in live_nodes().values())
            gpus = SHARE if device != "cpu" and has_gpus else 0.0
            if not gpus and device != "cpu" and self.address is not None and grows():
                log.warning("no node has a GPU yet, so none is asked for. To have some started: --gpus-per-stage 0.25")
        shape = Shape(self.cpus_per_stage, gpus)
        for name, amount in shape.bundle.items():
            if amount <= max((node.resources.get(name, 0) for node in live_nodes().values()), default=0):
                continue
            lack = f"a stage asks for {amount:g} {name}, and no node of the cluster has as many"
            if self.address is None:
                raise ConfigError(f"{lack}. Ask for less with --cpus-per-stage or --gpus-per-stage.")
            log.warning("%s yet: nothing runs before the autoscaler, or you, add one.", lack)
        return shape

    def _fit(self, gate: Gate, watch: Watch, folder: str) -> None:
        tuner = tune.Tuner(
            StageTrial,
            tune_config=tune.TuneConfig(
                search_alg=gate,
                num_samples=-1,
                max_concurrent_trials=self._most or MOST,  # at a time; the gate's own limits are closer
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="launch",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                # A worker on another machine cannot write into our scratch folder; its whole trial would fail for that.
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=[watch],
                stop=Feeding(gate),
            ),
        )
        tuner.fit()
