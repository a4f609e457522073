"""RayBackend: stages as Ray Tune trials; the one file that imports ray.

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

import contextlib
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it asks workers to save their checkpoints
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a stage without a GPU sees none
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402 - Ray reads the settings above while it is imported
from ray import cloudpickle, tune  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from orchestrator.backend import Backend, settle  # noqa: E402
from orchestrator.errors import ConfigError  # noqa: E402
from orchestrator.files import log  # noqa: E402
from orchestrator.schedule import Schedule  # noqa: E402
from orchestrator.seam import Status  # noqa: E402
from orchestrator.store import Store  # noqa: E402
from orchestrator.worker import Handout, Options, Report, lost_report, run_stage  # noqa: E402

OnReport = Callable[[Report, list[str]], None]
WORKER_DEATHS = 20  # of one stage, before it counts as failed
FIT_ATTEMPTS = 5
KNOCK_S = 5.0


class StageTrial(tune.Trainable):
    """Ray's trial of one stage. Its process is reused for the next one."""

    def setup(self, config: dict[str, Any]) -> None:
        """Keep what to run."""
        self._work = config["work"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next stage in the same process; nothing of the last one is left."""
        self._work = new_config["work"]
        return True

    def step(self) -> dict[str, Any]:
        """Run the whole stage; Ray sees one result per trial."""
        handout, root, options = cloudpickle.loads(self._work)
        return {"report": run_stage(handout, Store(root), options), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the store has our checkpoints."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing: a stage resumes from the store."""


class Gate(Searcher):
    """Hands Tune the next ready stage, and tells the schedule what became of it."""

    def __init__(self, schedule: Schedule, store: Store, options: Options, on_report: OnReport) -> None:
        super().__init__(metric=None, mode=None)
        self._schedule, self._store, self._options, self._on_report = schedule, store, options, on_report
        self.live: dict[str, Handout] = {}
        self._deaths: Counter[str] = Counter()

    def suggest(self, trial_id: str) -> Any:
        """Config of the next stage, None while nothing is ready, FINISHED at the end."""
        stage = self._schedule.next_ready()
        if stage is None:
            return Searcher.FINISHED if self._schedule.is_over else None
        handout = Handout.of(stage)
        self.live[trial_id] = handout
        return {"work": cloudpickle.dumps((handout, self._store.root, self._options))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Settle the trial's stage, once, whatever Tune calls this for."""
        handout = self.live.pop(trial_id, None)
        if handout is None:
            return
        report = None if error or not result else result.get("report")
        if report is None:
            report = self._without_report(handout)
        if report is None:
            self._schedule.hand_back(handout.key)
        else:
            settle(self._schedule, report, self._on_report)

    def _without_report(self, handout: Handout) -> Report | None:
        """What became of a stage whose worker never answered: None if it is to be tried again.

        Tune is not asked to retry: it counts a trial that was handed to a dead, reused process as failed for good.
        If the stage was committed all the same, the store knows.
        """
        if self._store.is_committed(handout.key):
            row = self._store.stage_row(handout.key)
            return Report(handout.key, Status(row["status"]), row)
        if self._store.is_stop_requested(self._options.launch):
            return Report(handout.key, Status.INTERRUPTED)
        self._deaths[handout.key] += 1
        if self._deaths[handout.key] <= WORKER_DEATHS:
            return None
        deaths = f"its worker process died {WORKER_DEATHS + 1} times, or could not be started"
        return lost_report(handout, self._store, self._options, f"{deaths}; Ray's log folder says why")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its searcher into files that nobody ever reads here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the store is the state."""


class Watch(tune.Callback):
    """Finds trials that Tune ended without telling the searcher; they would be waited for for ever."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._live: dict[str, Any] = {}
        self._seen = 0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as in `Gate`."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Settle what is over in Tune's eyes and live in ours."""
        for trial in trials[self._seen :]:
            self._live[trial.trial_id] = trial
        self._seen = len(trials)
        for trial_id in [name for name in self._live if name not in self._gate.live]:
            del self._live[trial_id]
        for trial_id, trial in list(self._live.items()):
            if trial.status in ("ERROR", "TERMINATED"):
                self._gate.on_trial_complete(trial_id, trial.last_result, trial.status == "ERROR")


@dataclass(frozen=True)
class RayBackend(Backend):
    """Stages on a Ray cluster.

    Attributes:
        address: Of a running cluster (``host:port`` or ``auto``); None starts one on this machine.
        slots: Stages at once; None for one per core of this machine, or all that a cluster at
            `address` has room for now. More than that is what an autoscaler grows for.
        cpus_per_stage: Cores that a stage asks of Ray.
        gpus_per_stage: GPUs that a stage asks for, a fraction or whole; None for a quarter where
            the cluster has GPUs and none where it has not.
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
            self._knock(self.address)

    @property
    def workers(self) -> int | None:
        """See `Backend.workers`."""
        return self.slots or (None if self.address else len(os.sched_getaffinity(0)))

    def run(self, schedule: Schedule, store: Store, options: Options, on_report: OnReport) -> None:
        """See `Backend.run`. Whatever ends Tune early, what is missing is started again."""
        with self._cluster() as resources, tempfile.TemporaryDirectory(prefix="warmgrid-ray-") as scratch:
            shape = self._shape(resources)
            options = options if shape["GPU"] else replace(options, device=options.device or "cpu")
            for attempt in range(FIT_ATTEMPTS):
                try:
                    self._fit(Gate(schedule, store, options, on_report), shape, resources, f"{scratch}/{attempt}")
                    return
                except RuntimeError as error:  # what Tune makes of anything it did not expect
                    if attempt == FIT_ATTEMPTS - 1:
                        raise
                    log.warning("Ray Tune stopped (%s); starting the missing stages again.", last_line(error))
                    for key in list(schedule.running):
                        if store.is_committed(key):
                            row = store.stage_row(key)
                            settle(schedule, Report(key, Status(row["status"]), row), on_report)
                        else:
                            schedule.hand_back(key)
                    if store.is_stop_requested(options.launch):
                        return

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[dict[str, float]]:
        """Join the cluster at `address`, or start one; gives its resources, and leaves it as it was."""
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed is in the store and said by us
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        on_term = signal.getsignal(signal.SIGTERM)
        if self.address is None:
            cores = (self.workers or 1) * max(1, math.ceil(self.cpus_per_stage))
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **common)
        else:
            try:
                ray.init(address=self.address, runtime_env=travelling_code(), **common)
            except (OSError, RuntimeError, ValueError) as error:
                raise nobody_at(self.address, error) from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_term)  # ray.init puts its own there, which exits at once
        if self.by_value is not None:
            cloudpickle.register_pickle_by_value(self.by_value)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Ray prints what its daemons say; results are printed alone
                yield ray.cluster_resources()
        finally:
            ray.shutdown()

    @staticmethod
    def _knock(address: str) -> None:
        """Refuse at once an address where nobody listens; Ray itself would try for minutes.

        Raises:
            ConfigError: nobody does.
        """
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit() or "/" in host:
            return  # ``auto``, or a form that Ray judges at once
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
        except OSError as error:
            raise nobody_at(address, error) from None

    def _shape(self, resources: dict[str, float]) -> dict[str, float]:
        """What one stage asks of Ray.

        Raises:
            ConfigError: no machine of the cluster can ever give it.
        """
        gpus = self.gpus_per_stage
        if gpus is None:
            gpus = 0.25 if resources.get("GPU") else 0.0
        shape = {"CPU": self.cpus_per_stage, "GPU": gpus}
        for name, amount in shape.items():
            if amount <= max((node["Resources"].get(name, 0) for node in ray.nodes() if node["Alive"]), default=0):
                continue
            lack = f"a stage asks for {amount:g} {name}, and no node of the cluster has as many"
            if self.address is None:
                raise ConfigError(f"{lack}. Ask for less with --cpus-per-stage or --gpus-per-stage.")
            log.warning("%s yet: nothing runs before the autoscaler, or you, add one.", lack)
        return shape

    def _fit(self, gate: Gate, shape: dict[str, float], resources: dict[str, float], folder: str) -> None:
        slots = self.slots or int(min(resources.get(name, 0) / amount for name, amount in shape.items() if amount)) or 1
        tuner = tune.Tuner(
            tune.with_resources(StageTrial, tune.PlacementGroupFactory([{k: v for k, v in shape.items() if v}])),
            tune_config=tune.TuneConfig(
                search_alg=gate,
                num_samples=-1,
                max_concurrent_trials=slots + 2,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="launch",
                storage_path=folder,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[Watch(gate)],
            ),
        )
        tuner.fit()


def nobody_at(address: str, error: BaseException) -> ConfigError:
    """What to say where no cluster could be joined."""
    return ConfigError(
        f"--address {address}: no Ray cluster answers there ({last_line(error)}). Start one with `ray start --head` or "
        f"`ray up cluster.yaml`, or leave the option out."
    )


def travelling_code() -> dict[str, Any]:
    """Runtime environment that brings this checkout's packages to nodes that lack them."""
    import orchestrator  # the package itself, for where it lies

    base = Path(orchestrator.__file__).absolute().parents[1]
    modules = [base / name for name in ("orchestrator", "trainers", "sweeps")]
    return {"py_modules": [str(path) for path in modules if path.is_dir()], "env_vars": {"OMP_NUM_THREADS": "1"}}


def last_line(error: BaseException) -> str:
    """The last line of an error's text that says something."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
