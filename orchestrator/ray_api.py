"""Ray as we use it, imported with our settings; the one file that imports ray, and it decides nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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
from ray._common.utils import get_default_ray_temp_dir  # noqa: E402
from ray._private import ray_constants  # noqa: E402
from ray._private.node import Node  # noqa: E402
from ray._private.state import state  # noqa: E402
from ray.air._internal import usage  # noqa: E402
from ray.air.execution import FixedResourceManager  # noqa: E402
from ray.exceptions import RayError  # noqa: E402
from ray.tune.execution import tune_controller  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

__all__ = ["RayError", "Searcher", "cloudpickle", "ray", "tune"]

# Tune counts its users' kinds of callbacks for Ray's makers, and imports mlflow and wandb to know theirs: 2 s a launch.
_usage: Any = usage
_usage.tag_callbacks = lambda _callbacks: False

_raylet: Any = ray._raylet  # compiled, and without types
TRIES = "RAY_gcs_server_port_wait_time_s"  # to join a cluster, about a second each
NOT_NEEDED = ("start_monitor", "start_log_monitor", "start_api_server")
LAUNCHER_LABEL = "ray.io/node-group"  # of nodes that `ray up`, KubeRay or another launcher started


def reread_token() -> None:
    """Have Ray look again at the environment variables of its token, which it remembers for the life of a process."""
    _raylet.Config.initialize("")
    _raylet.AuthenticationTokenLoader.instance().reset_cache()


def has_token() -> bool:
    """Whether Ray finds a token for clusters that want one: in an environment variable, or in the user's folder."""
    return bool(_raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def stay_on_loopback(is_on: bool) -> None:
    """Whether a cluster that is started next binds all its ports to 127.0.0.1, which is Ray's way on other systems."""
    ray_constants.ENABLE_RAY_CLUSTER = not is_on


@contextlib.contextmanager
def few_daemons() -> Iterator[None]:
    """A cluster that is started meanwhile has no autoscaler, no dashboard and nobody who passes its logs on.

    One machine cannot grow, what workers print stays in their files, and each would take half a second to start.
    """
    before = {name: getattr(Node, name) for name in NOT_NEEDED if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, lambda _node, **_options: None)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


@contextlib.contextmanager
def counted_resources() -> Iterator[None]:
    """Tune counts what its trials use, meanwhile, and reserves nothing: on one machine there is nothing to place.

    A placement group costs a worker process, which looks whether it is there, and the time to start one.
    """
    controller: Any = tune_controller
    before = controller.PlacementGroupResourceManager
    controller.PlacementGroupResourceManager = FixedResourceManager
    try:
        yield
    finally:
        controller.PlacementGroupResourceManager = before


def logs_folder() -> str:
    """Where Ray's daemons of this machine write what they have to say, those that were started last."""
    return f"{get_default_ray_temp_dir()}/{ray_constants.SESSION_LATEST}/logs"


def draining_nodes() -> set[str]:
    """Ids of the nodes that are about to be taken away."""
    return set(state.get_draining_nodes())


def node_of(actor: object) -> str | None:
    """Id of the node that an actor runs on; None if the cluster does not know."""
    actor_id = getattr(actor, "_actor_id", None)
    if actor_id is None:
        return None
    found = state.actor_table(actor_id.hex()) or {}
    return (found.get("Address") or {}).get("NodeID") or None


def autoscaler_status() -> bytes:
    """What the first kind of autoscaler says of itself, as JSON; empty if there is none."""
    return ray.experimental.internal_kv._internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS) or b""


def has_second_autoscaler() -> bool:
    """Whether the cluster has the second kind of autoscaler."""
    worker: Any = ray._private.worker.global_worker
    key, namespace = _raylet.GCS_AUTOSCALER_V2_ENABLED_KEY, _raylet.GCS_AUTOSCALER_STATE_NAMESPACE
    return bool(worker.gcs_client.internal_kv_get(key.encode(), namespace=namespace.encode()) == b"1")
