"""A cluster grows for the stages that are ready, never for more, and shrinks when they are done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import SWEEP
from tests.cluster.machines import IsolatedCluster, cluster_of, wait_until
from tests.cluster.paced import PACE
from tests.end_to_end.run import committed, content

pytestmark = [pytest.mark.timeout(1200), pytest.mark.usefixtures("asked_for")]
FIRST_ROUNDS, MOST = 2, 5
HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # what Ray's provider of made-up nodes calls it
COMMON: dict[str, Any] = {
    "cluster_name": "made-up",
    "max_workers": MOST,
    "upscaling_speed": 10.0,
    "idle_timeout_minutes": 0.2,
    "head_node_type": "ray.head.default",
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    "file_mounts_sync_continuously": False,
    **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands")},
    **{name: [] for name in ("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")},
}


def config() -> dict[str, Any]:
    """Nodes of one core each, which Ray starts as processes on the head's machine."""
    provider = {"type": "fake_multinode", "launch_multiple": True, "head_node_id": HEAD}
    switches = ("use_node_id_as_ip", "disable_node_updaters", "disable_launch_config_check")
    worker = {"resources": {"CPU": 1, "object_store_memory": 100000000}, "node_config": {}, "max_workers": MOST}
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {**worker, "min_workers": 0},
    }
    return {**COMMON, "provider": {**provider, **dict.fromkeys(switches, True)}, "available_node_types": types}


@pytest.fixture
def growing() -> Iterator[IsolatedCluster]:
    """A cluster with an autoscaler, and a head alone."""
    made_up = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1"}
    ids = {"RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}
    with cluster_of(IsolatedCluster, **made_up, **ids, **{PACE: "1"}) as cluster:
        assert isinstance(cluster, IsolatedCluster)
        give_example(cluster)
        cluster.start_head(f"--autoscaling-config={cluster.folder / 'growing.json'}")
        yield cluster


def give_example(cluster: IsolatedCluster) -> None:
    """Put the configuration, and a file that Ray's wheel lacks and its second autoscaler reads, where Ray looks."""
    import ray.autoscaler._private.fake_multi_node as provider

    (folder,) = provider.__path__
    overlay = cluster.folder / "overlay"
    text = json.dumps(config())
    cluster.at_boot = (
        f'mkdir -p "{overlay}" && cp -r "{folder}/." "{overlay}" && cp "{cluster.folder}/growing.json" "{overlay}/'
        f'example.yaml" && mount --bind "{overlay}" "{folder}"'
    )
    cluster.files["growing.json"] = text


def workers(cluster: IsolatedCluster) -> int:
    """How many made-up nodes run beside the head."""
    return len(cluster.head.processes("raylet/raylet")) - 1


def test_nodes_come_for_ready_stages_and_go_when_they_are_done(
    growing: IsolatedCluster, tmp_path: Path, undisturbed: object
) -> None:
    """Machines that wait for work are paid for; so is the time of work that waits for machines."""
    store, seen = tmp_path / "store", []
    driver = growing.warmgrid("launch", SWEEP, "--store", store, "--gpus-per-stage", "0")

    def look() -> bool:
        seen.append((len(committed(store)), workers(growing)))
        return driver.poll() is not None

    began = time.monotonic()
    while not look():
        assert time.monotonic() < began + 900, seen
        time.sleep(0.5)
    printed, _ = driver.communicate()
    print("committed, nodes:", sorted(set(seen)))
    assert driver.returncode == 0, printed
    print("idle nodes gone after", wait_until(lambda: workers(growing) == 0, Forever(), 300), "s")

    assert max(nodes for done, nodes in seen if done == 0) <= FIRST_ROUNDS
    assert max(nodes for _, nodes in seen) > FIRST_ROUNDS
    assert content(store) == undisturbed


class Forever:
    """Stands for a process that does not end."""

    def poll(self) -> None:
        """Nothing, as of a running process."""

    def kill(self) -> None:
        """There is nothing to kill."""

    def communicate(self) -> tuple[str, str]:
        """Says nothing."""
        return "", ""
