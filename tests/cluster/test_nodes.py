"""Whatever becomes of a cluster's machines, a sweep ends with the bits of an undisturbed run, and status tells why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.cluster.conftest import SWEEP
from tests.cluster.machines import ROOT, Cluster, IsolatedCluster, cluster_of, wait_until
from tests.cluster.paced import DIARY, PACE, read_diary
from tests.end_to_end.run import committed, content

pytestmark = pytest.mark.timeout(900)  # a loaded machine takes half a minute to start one of Ray's nodes
STAGES = 14
OPTIONS = ("--checkpoint-every", "0", "--gpus-per-stage", "0")
EPOCH_S = "0.25"
LONG_EPOCH_S = "1"  # where a stage is shorter than the start of a worker, Ray Tune lets the new worker go again


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose machines share this one's address."""
    with cluster_of(Cluster, **{PACE: EPOCH_S, DIARY: str(tmp_path / "diary")}) as cluster:
        yield cluster


@pytest.fixture
def isolated(asked_for: None, tmp_path: Path) -> Iterator[IsolatedCluster]:
    """A cluster whose machines have addresses of their own."""
    with cluster_of(IsolatedCluster, **{PACE: EPOCH_S, DIARY: str(tmp_path / "diary")}) as cluster:
        assert isinstance(cluster, IsolatedCluster)
        yield cluster


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the sweep goes; every machine sees it."""
    return tmp_path / "store"


def launched(cluster: Cluster, store: Path, *words: str, after: int = 3) -> subprocess.Popen[str]:
    """A launch of the sweep that has committed so many stages."""
    driver = cluster.warmgrid("launch", SWEEP, "--store", store, *OPTIONS, *words)
    wait_until(lambda: len(committed(store)) >= after, driver, 300)
    return driver


def ended(driver: subprocess.Popen[str], code: int = 0) -> str:
    """What a launch printed until it ended as it should."""
    printed, _ = driver.communicate(timeout=600)
    assert driver.returncode == code, printed
    return printed


def events(cluster: Cluster, store: Path) -> list[dict[str, Any]]:
    """What ``warmgrid status`` tells of the launches' events."""
    printed = ended(cluster.warmgrid("status", SWEEP, "--store", store, "--json"))
    told: list[dict[str, Any]] = json.loads(printed)["events"]
    return told


def kinds(cluster: Cluster, store: Path) -> Counter[str]:
    """How often what happened, as ``warmgrid status`` tells it."""
    return Counter(event["kind"] for event in events(cluster, store))


def tell(cluster: Cluster, store: Path, fault: float) -> None:
    """Print, for the table of faults, what followed a fault and when; pytest -rP shows it."""
    diary = read_diary(store.parent / "diary")
    noted = [(datetime.fromisoformat(event["time"]).timestamp(), event["kind"]) for event in events(cluster, store)]
    later = [f"{kind} after {when - fault:.1f} s" for when, kind in noted if when > fault]
    begun: set[str] = set()
    again = [when for when, what, stage, _ in diary if what == "begins" and (stage in begun or begun.add(stage))]
    ends = Counter(stage for _, what, stage, _ in diary if what == "ends")
    print("events:", ", ".join(later) or "none")
    print("first stage that begins again:", *[f"{when - fault:.1f} s" for when in again if when > fault][:1])
    print("begun again:", len(again), "ended twice:", sum(n > 1 for n in ends.values()), "of", len(ends))


def hosts(store: Path) -> set[str]:
    """Names of the machines that committed stages."""
    rows = duckdb.connect().execute(f"SELECT DISTINCT host FROM read_parquet('{store}/stages/*.parquet')").fetchall()
    return {row[0] for row in rows}


def test_a_node_that_dies_and_one_that_joins_change_nothing(beside: Cluster, store: Path, undisturbed: object) -> None:
    """Cloud machines come and go all the time; a sweep of days must not notice."""
    beside.start_head()
    first, _ = beside.add(cpus=1), beside.add(cpus=1)
    driver = launched(beside, store)

    first.kill_raylet()
    fault = time.time()
    beside.add(cpus=2)
    printed = ended(driver)
    tell(beside, store, fault)

    assert f"{STAGES} done" in printed
    assert content(store) == undisturbed
    assert kinds(beside, store)["node_lost"] == 1


def test_a_node_with_an_address_of_its_own_dies(isolated: IsolatedCluster, store: Path, undisturbed: object) -> None:
    """The same where nothing but the network and the store is shared; all of the machine goes, as in a power cut."""
    isolated.start_head()
    first, _ = isolated.add(cpus=2), isolated.add(cpus=1)
    driver = launched(isolated, store)

    first.lose()
    fault = time.time()
    ended(driver)
    tell(isolated, store, fault)

    assert content(store) == undisturbed
    assert kinds(isolated, store)["node_lost"] == 1


def test_a_drained_node_is_left_in_time(isolated: IsolatedCluster, store: Path, undisturbed: object) -> None:
    """A spot machine is announced to go: it gets no new stage, and its stages go on elsewhere."""
    isolated.start_head()
    first, _ = isolated.add(cpus=2), isolated.add(cpus=1)
    driver = launched(isolated, store)

    isolated.drain(first, seconds=5)
    fault = time.time()
    wait_until(lambda: not first.processes("raylet/raylet"), driver)
    ended(driver)
    tell(isolated, store, fault)

    assert content(store) == undisturbed
    assert kinds(isolated, store)["node_draining"] == 1


def test_a_node_that_is_told_to_leave_hands_its_stages_back(
    isolated: IsolatedCluster, store: Path, undisturbed: object
) -> None:
    """docs/leave-in-time.sh has two minutes: its stages save their checkpoints and go on elsewhere."""
    isolated.start_head()
    first, _ = isolated.add(cpus=2), isolated.add(cpus=1)
    driver = launched(isolated, store)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    told = first.run("env", f"PATH={path}", "sh", ROOT / "docs" / "leave-in-time.sh", isolated.address, "now")
    fault = time.time()
    ended(driver)
    tell(isolated, store, fault)

    happened = kinds(isolated, store)
    assert "leaving: node" in told
    assert content(store) == undisturbed
    assert happened["node_draining"] == 1
    assert happened["handed_back"] >= 1


def test_a_node_that_joins_gets_work(isolated: IsolatedCluster, store: Path, undisturbed: object) -> None:
    """Whoever adds machines in mid-sweep must not have to launch again."""
    isolated.settings[PACE] = LONG_EPOCH_S
    isolated.start_head()
    isolated.add(cpus=1)
    driver = launched(isolated, store, after=1)

    isolated.add(cpus=2)
    fault = time.time()
    ended(driver)
    tell(isolated, store, fault)

    assert content(store) == undisturbed
    assert hosts(store) == {"node2", "node3"}


def test_after_a_lost_head_resume_completes(isolated: IsolatedCluster, store: Path, undisturbed: object) -> None:
    """The driver dies with the head; a new head, workers that join it, and resume are all it takes."""
    isolated.start_head()
    isolated.add(cpus=2)
    driver = launched(isolated, store)

    isolated.head.lose()
    driver.communicate()
    before = len(committed(store))
    isolated.start_head()
    isolated.add(cpus=2)
    fault = time.time()
    ended(isolated.warmgrid("resume", SWEEP, "--store", store, *OPTIONS))
    tell(isolated, store, fault)

    assert before < STAGES
    assert content(store) == undisturbed


def test_a_link_that_is_down_for_20_s_costs_no_stage(
    isolated: IsolatedCluster, store: Path, undisturbed: object
) -> None:
    """A worker that was thought dead comes back and goes on; nothing may be doubled, nothing waited for in vain."""
    isolated.start_head()
    first, _ = isolated.add(cpus=1), isolated.add(cpus=1)
    assert hasattr(first, "plug_in")
    driver = launched(isolated, store)

    first.plug_in(False)
    fault = time.time()
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(20)
    first.plug_in()
    ended(driver)
    tell(isolated, store, fault)

    assert content(store) == undisturbed


def test_stages_that_need_no_gpu_fill_nodes_of_all_kinds(isolated: IsolatedCluster, store: Path) -> None:
    """Cores of a GPU machine, and machines without a GPU, are there to be used."""
    isolated.settings[PACE] = LONG_EPOCH_S
    isolated.start_head()
    isolated.add(cpus=2)
    isolated.add(cpus=1, gpus=1)

    ended(launched(isolated, store))

    assert hosts(store) == {"node2", "node3"}


def test_stages_that_need_a_gpu_stay_where_one_is(isolated: IsolatedCluster, store: Path, undisturbed: object) -> None:
    """A stage that asks for half a GPU must never land on a machine without one."""
    isolated.start_head()
    isolated.add(cpus=2)
    isolated.add(cpus=2, gpus=1)

    ended(launched(isolated, store, "--gpus-per-stage", "0.5"))

    assert hosts(store) == {"node3"}
    assert content(store) == undisturbed
