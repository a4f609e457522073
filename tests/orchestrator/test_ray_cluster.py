"""A cluster is joined, started and looked at as it is; what Ray says in its own ways becomes one clear word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ray._private.node import Node as RayNode
from ray.air.execution import FixedResourceManager, PlacementGroupResourceManager
from ray.tune.execution import tune_controller

from orchestrator import ray_cluster
from orchestrator.errors import ConfigError
from orchestrator.ray_api import RayError, counted_resources, few_daemons
from orchestrator.ray_cluster import (
    Node,
    environment,
    grows,
    host_and_port,
    live_nodes,
    own_cluster,
    refused,
    start,
    travelling_code,
)

ALIVE = {
    "NodeID": "0123456789abcdef",
    "Alive": True,
    "NodeManagerHostname": "far",
    "NodeManagerAddress": "10.0.0.2",
    "Resources": {"CPU": 4.0, "GPU": 1.0, "memory": 9.0},
    "Labels": {"ray.io/node-id": "0123456789abcdef"},
}


def status(*types: str, idle: Any = None) -> bytes:
    """What an autoscaler says of nodes of these types."""
    return json.dumps({"autoscaler_report": {"active_nodes": dict.fromkeys(types, 1), "idle_nodes": idle}}).encode()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ray says of the cluster, for a test to change: one node that was started by hand."""
    said: dict[str, Any] = {"nodes": [ALIVE], "draining": set(), "status": status("node_0123456789abcdef"), "second": 0}
    monkeypatch.setattr(ray_cluster.ray, "nodes", lambda: said["nodes"])
    monkeypatch.setattr(ray_cluster, "draining_nodes", lambda: said["draining"])
    monkeypatch.setattr(ray_cluster, "autoscaler_status", lambda: said["status"])
    monkeypatch.setattr(ray_cluster, "has_second_autoscaler", lambda: bool(said["second"]))
    return said


def test_nodes_are_called_as_a_user_knows_them(seen: dict[str, Any]) -> None:
    """Of ids of 56 digits nobody knows which machine to look at; dead nodes stay in Ray's list for ever."""
    seen["nodes"] = [ALIVE, {**ALIVE, "NodeID": "gone", "Alive": False}]
    seen["draining"] = {ALIVE["NodeID"]}

    (node,) = live_nodes().values()

    assert (str(node), node.draining) == ("far/10.0.0.2#abcdef (4 CPU, 1 GPU)", True)
    assert str(Node("i", "head", {"memory": 9.0})) == "head (no CPU)"


@pytest.mark.parametrize(
    ("said", "does"),
    [
        ({}, False),  # `ray start` by hand: an autoscaler runs, but was given nothing to start
        ({"status": b""}, False),
        ({"status": status("ray.head.default")}, True),
        ({"status": status(idle={"ray.worker.gpu": 1})}, True),
        ({"second": 1}, True),
        ({"nodes": [{**ALIVE, "Labels": {"ray.io/node-group": "head"}}]}, True),  # `ray up`, KubeRay
    ],
)
def test_a_cluster_that_grows_is_known(seen: dict[str, Any], said: dict[str, Any], does: bool) -> None:
    """Asked for little it never starts a machine; and one that cannot grow must not be asked for much."""
    seen.update(said)

    assert grows() is does


def test_a_token_is_forgotten_with_its_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left in the environment it would be sent to the next cluster that is joined."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/theirs")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)

    with environment({"RAY_AUTH_TOKEN": "ours" * 16, "RAY_AUTH_TOKEN_PATH": None}):
        inside = os.environ.get("RAY_AUTH_TOKEN"), os.environ.get("RAY_AUTH_TOKEN_PATH")

    assert inside == ("ours" * 16, None)
    assert (os.environ.get("RAY_AUTH_TOKEN"), os.environ["RAY_AUTH_TOKEN_PATH"]) == (None, "/theirs")


@pytest.mark.parametrize(
    ("address", "error", "has", "says"),
    [
        ("head:6379", ConnectionError("Failed"), False, r"\(Failed\).*wants a token, and this machine has none"),
        ("head:6379", ConnectionError("Failed"), True, "wants a token, and this machine has another one"),
        ("auto", RayError("no token"), False, r"\(no token\).*RAY_AUTH_TOKEN_PATH"),
        ("auto", ConnectionError("nothing found"), False, "no Ray cluster answers there"),
    ],
)
def test_a_refusal_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, address: str, error: Exception, has: bool, says: str
) -> None:
    """Ray says that it failed to connect, whatever the reason is."""
    monkeypatch.setattr(ray_cluster, "has_token", lambda: has)

    with pytest.raises(ConfigError, match=f"--address {address}: .*{says}"):
        raise refused(address, error)


@pytest.mark.parametrize(
    ("address", "place"),
    [("a:1", ("a", 1)), ("[::1]:6379", ("::1", 6379)), ("auto", None), ("ray://a:1", None), ("a", None)],
)
def test_addresses_are_read(address: str, place: object) -> None:
    """Only where host and port are known can be looked at once whether anybody listens."""
    assert host_and_port(address) == place


def test_workers_elsewhere_get_our_settings() -> None:
    """A stage without a GPU sees none also on a cluster that others started."""
    assert travelling_code()["env_vars"]["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] == "1"


class Daemons:
    """Ray on a machine that is too busy for it, some times: each time one of its daemons comes up and is left."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.left: list[subprocess.Popen[bytes]] = []

    def init(self, *_: object, **__: object) -> None:
        self.left.append(subprocess.Popen(["sleep", "60"]))
        if len(self.left) <= self.failures:
            raise Exception("The current node timed out during startup.")


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemons]:
    """Ray starts at the second time."""
    daemons = Daemons(failures=1)
    monkeypatch.setattr(ray_cluster.ray, "init", daemons.init)
    yield daemons
    for one in daemons.left:
        one.kill()
        one.wait()


def test_ray_is_started_again_without_what_the_first_time_left(busy: Daemons) -> None:
    """A busy machine does not start its daemons within Ray's 30 s; those that are left make it busier."""
    start(2)

    assert len(busy.left) == 2
    assert busy.left[0].wait(10) == -signal.SIGKILL
    assert busy.left[1].poll() is None


def test_ray_that_never_starts_is_one_clear_word(busy: Daemons) -> None:
    """Not a traceback of Ray's; with where to look and what to do."""
    busy.failures = 99

    with pytest.raises(ConfigError, match=r"tried 3 times: .*timed out.*session_latest/logs.*--backend inprocess"):
        start(2)


def test_ray_starts_without_what_one_machine_does_not_need() -> None:
    """Three processes that nobody asks anything would each take half a second from the first stage."""
    names = ("start_monitor", "start_log_monitor", "start_api_server")
    before = {name: vars(RayNode)[name] for name in names}  # if one is missing: see what this release of Ray starts

    with few_daemons():
        assert [getattr(RayNode, name)(None) for name in names] == [None] * 3
        RayNode.start_api_server(None, include_dashboard=False, raise_on_failure=False)

    assert {name: vars(RayNode)[name] for name in names} == before


def test_a_cluster_that_others_started_is_asked_for_places() -> None:
    """Its autoscaler sees placement groups; it would never start a node for what is only counted."""
    names: Any = vars(tune_controller)
    with counted_resources():
        assert names["PlacementGroupResourceManager"] is FixedResourceManager

    assert names["PlacementGroupResourceManager"] is PlacementGroupResourceManager


def test_own_cluster_counts_and_starts_no_worker_before_a_stage_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that Ray starts early are never given a stage, but import all that one needs."""
    seen: list[Any] = []
    monkeypatch.setattr(ray_cluster, "start", lambda _: seen.append(os.environ.get(*ray_cluster.PRESTART)))

    with own_cluster(2):
        seen.append(vars(tune_controller)["PlacementGroupResourceManager"])

    assert seen == ["0", FixedResourceManager]


def test_tune_counts_no_callbacks_for_others() -> None:
    """To know theirs it imports mlflow and wandb where they are installed: two seconds of every launch."""
    code = (
        "import sys; from orchestrator.ray_api import tune; from ray.air._internal import usage\n"
        "usage.tag_callbacks([tune.Callback()]); print({'mlflow', 'wandb'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"
