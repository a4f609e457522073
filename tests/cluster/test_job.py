"""``ray job submit -- warmgrid launch`` works, and the launch outlives whoever submitted it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import SWEEP
from tests.cluster.machines import RAY, IsolatedCluster, cluster_of, wait_until
from tests.cluster.paced import PACE
from tests.end_to_end.run import committed, content, wait_for

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("asked_for"),
    pytest.mark.skipif(importlib.util.find_spec("aiohttp_cors") is None, reason="ray[default] is not installed"),
]
PORT = 8265
HEAD = ("--dashboard-host=127.0.0.1", f"--dashboard-port={PORT}")


def test_a_submitted_launch_outlives_its_submitter(tmp_path: Path, undisturbed: object) -> None:
    """A laptop that is closed must not end the sweep that it started."""
    store = tmp_path / "store"
    with cluster_of(IsolatedCluster, **{PACE: "0.2"}) as cluster:
        cluster.start_head(*HEAD)
        cluster.add(cpus=2)
        launch = (sys.executable, "-m", "orchestrator.cli", "launch", SWEEP, "--store", store, "--address", "auto")
        server = f"--address=http://127.0.0.1:{PORT}"
        submitter = cluster.head.start(
            *RAY, "job", "submit", server, f"--working-dir={tmp_path}", "--", *located(launch)
        )
        wait_until(lambda: len(committed(store)) >= 2, submitter, 300)

        submitter.kill()
        submitter.communicate()
        wait_for(lambda: len(committed(store)) == 14)
        wait_for(lambda: "SUCCEEDED" in cluster.head.run(*RAY, "job", "list", server))

    assert content(store) == undisturbed


def located(words: tuple[object, ...]) -> list[str]:
    """The same with the sweep's file where the job finds it: it runs in a folder of its own."""
    root = Path(__file__).parents[2]
    return [str(root / str(word)) if re.fullmatch(r"tests/.*\.py", str(word)) else str(word) for word in words]
