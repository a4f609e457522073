"""Nobody but its owner gets into a cluster: dashboard and client ports are closed, and the token is asked for."""

from __future__ import annotations

import ipaddress
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.conftest import SWEEP
from tests.cluster.machines import RAY, Cluster, Machine, cluster_of, wait_until
from tests.cluster.paced import PACE
from tests.end_to_end.run import committed, wait_for

pytestmark = pytest.mark.timeout(600)
ANSWER = "No cluster status"  # to whoever is let in: a launch's own cluster has no monitor, which writes one
LISTENS = "0A"
CLIENT_PORT = 10001
# `ray status` of somebody who knows that the cluster is on the loopback; Ray would look at the network's address.
STATUS = """
from orchestrator import ray_api
from ray.scripts.scripts import cli

ray_api.stay_on_loopback(True)
cli()
"""
HEAD = ("--dashboard-host=127.0.0.1", "--dashboard-port=0")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster without machines."""
    with cluster_of(Cluster, **{PACE: "0.2"}) as made:
        yield made


def listening(machine: Machine) -> set[tuple[str, bool, int]]:
    """Command, whether on the loopback alone, and port of every socket on which a process of the machine listens."""
    found = set()
    for pid, command in machine.processes().items():
        ports = listening_inodes(pid)
        for inode in inodes_of(pid) & ports.keys():
            address, port = ports[inode]
            found.add((command, address.is_loopback, port))
    return found


def inodes_of(pid: int) -> set[str]:
    """Numbers of the sockets that a process holds."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(link.readlink())
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def listening_inodes(pid: int) -> dict[str, tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Address and port of each TCP socket on which somebody listens, by its number."""
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return {row[9]: address_of(row[1]) for row in rows if row[3] == LISTENS}


def address_of(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """The address and the port that the kernel writes as ``0100007F:1F90``."""
    host, port = text.split(":")
    words = struct.pack(f"={len(host) // 8}I", *(int(host[i : i + 8], 16) for i in range(0, len(host), 8)))
    address = ipaddress.ip_address(words)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address, int(port, 16)


def test_the_kernels_way_to_write_addresses_is_understood() -> None:
    """A check that takes every address for the loopback holds nothing."""
    addresses = [address_of(text)[0] for text in ("0100007F:1F90", "00000000:1F90", f"{'0' * 24}01000000:0050")]

    assert [address.is_loopback for address in addresses] == [True, False, True]
    assert address_of("0100007F:1F90")[1] == 8080


def test_a_cluster_of_a_launch_of_its_own_is_on_the_loopback_and_asks_for_its_own_token(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Whoever sits in the same café, or on the same machine, must not be able to run code through a laptop's sweep."""
    machine, store = cluster.boot(), tmp_path / "store"
    cluster.machines.append(machine)
    words = ("-m", "orchestrator.cli", "launch", SWEEP, "--store", store, "--workers", "1")
    driver = machine.start(sys.executable, *words)
    wait_until(lambda: bool(committed(store)), driver)

    found = listening(machine)
    (port,) = {port for command, _, port in found if "gcs_server" in command}
    known = told(machine, port, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token_of(machine))
    refused = [told(machine, port), told(machine, port, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64)]
    machine.lose()
    driver.communicate()

    assert len(found) > 3
    assert [one for one in found if not one[1]] == []
    assert ANSWER in known
    assert ["InvalidAuthToken" in one and ANSWER not in one for one in refused] == [True, True]


def token_of(machine: Machine) -> str:
    """The token that a launch made for the daemons that it started, which stands in their environment alone."""
    (raylet,) = machine.processes("raylet/raylet")
    variables = Path(f"/proc/{raylet}/environ").read_text().split("\0")
    return next(one for one in variables if one.startswith("RAY_AUTH_TOKEN=")).partition("=")[2]


def told(machine: Machine, port: int, **token: str) -> str:
    """What a cluster on the loopback tells somebody on its machine who has this token, by default none."""
    names = {name for name in machine.env if not name.startswith("RAY_AUTH")}
    env = {name: machine.env[name] for name in names} | {"RAY_AUTH_MODE": "disabled"} | token
    words = (sys.executable, "-c", STATUS, "status", f"--address=127.0.0.1:{port}")
    return Machine(machine.mark, env).run(*words, code=None)


def test_a_head_as_in_our_files_shows_neither_dashboard_nor_client_port(cluster: Cluster) -> None:
    """Both run code for whoever reaches them; Ray's other ports ask for the token, and are for the firewall."""
    pytest.importorskip("grpc", reason="without grpcio there is no client port that could be open")
    head = cluster.start_head(*HEAD)
    for process in ("gcs_server", "raylet", "RuntimeEnvAgent"):  # on a busy machine some come later
        wait_for(lambda process=process: any(process in one[0] for one in listening(head)))

    found = listening(head)
    dashboard = [one for one in found if "dashboard/dashboard.py" in one[0]]
    open_env = {name: value for name, value in head.env.items() if not name.startswith("RAY_AUTH")}
    stranger = Machine(head.mark, {**open_env, "RAY_AUTH_MODE": "disabled"})
    refused = stranger.run(*RAY, "status", f"--address={cluster.address}", code=None)
    wait_for(lambda: "Resources" in head.run(*RAY, "status", f"--address={cluster.address}"))  # at first: none yet

    assert [one for one in dashboard if not one[1] and not is_metrics(one)] == []
    assert CLIENT_PORT not in {port for _, _, port in found}
    assert "InvalidAuthToken" in refused


def is_metrics(one: tuple[str, bool, int]) -> bool:
    """Whether it is the exporter of the dashboard's own metrics, of which docs/cluster.md says what to do."""
    return one[2] == 44227


def test_the_token_of_a_cluster_is_for_its_owner_alone(cluster: Cluster) -> None:
    """As docs/cluster.md has it made: Ray itself writes it for all to read."""
    machine = cluster.boot()
    cluster.machines.append(machine)
    del machine.env["RAY_AUTH_TOKEN_PATH"]
    machine.run("sh", "-c", f"umask 077; {' '.join(RAY)} get-auth-token --generate")

    (made,) = (cluster.folder / ".ray").iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
