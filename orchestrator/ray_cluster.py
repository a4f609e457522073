"""The Ray cluster of a launch: one of our own on this machine, or one that is joined; it knows no stage.

A cluster of our own is closed: all its ports are bound to the loopback, it has no dashboard and no client port, and
its token is made for it and is in no file. A joined one is as its owner started it; if it wants a token, Ray's usual
places are looked at.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.files import log
from orchestrator.ray_api import (
    LAUNCHER_LABEL,
    SETTINGS,
    TRIES,
    RayError,
    autoscaler_status,
    counted_resources,
    draining_nodes,
    few_daemons,
    has_second_autoscaler,
    has_token,
    logs_folder,
    ray,
    reread_token,
    stay_on_loopback,
)

KNOCK_S = 5.0
PRESTART: dict[str, str | None] = {"RAY_prestart_worker_first_driver": "0"}  # of workers that no stage would get
JOIN_TRIES = "6"  # then a cluster that lets nobody in is given up
STARTS = 3  # of Ray on this machine: it gives its daemons 30 s, in which one that does much else may not start them
FOR_WORKERS = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)  # what also holds where others started the cluster


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, as a user knows it.

    Attributes:
        id: Ray's, which no other node ever gets.
        name: Its host's name and its address.
        resources: All that it has, by Ray's names: CPU, GPU, ...
        draining: Whether it is about to be taken away.
    """

    id: str
    name: str
    resources: dict[str, float]
    draining: bool = False

    def __str__(self) -> str:
        has = (f"{self.resources.get(name, 0):g} {name}" for name in ("CPU", "GPU") if self.resources.get(name))
        return f"{self.name} ({', '.join(has) or 'no CPU'})"


def live_nodes() -> dict[str, Node]:
    """The nodes that the cluster believes to be alive, by id."""
    draining = draining_nodes()
    return {
        node["NodeID"]: Node(node["NodeID"], named(node), dict(node["Resources"]), node["NodeID"] in draining)
        for node in ray.nodes()
        if node["Alive"]
    }


def named(node: dict[str, Any]) -> str:
    """Host and address of a node; several nodes of one host, as tests have, are told apart by their ids' ends."""
    return f"{node['NodeManagerHostname']}/{node['NodeManagerAddress']}#{node['NodeID'][-6:]}"


def grows() -> bool:
    """Whether the cluster starts nodes for what waits: started by a launcher, or with an autoscaler of its own.

    An autoscaler runs beside every head; one that was given nothing to start calls the nodes that it sees by their ids.
    """
    if any(LAUNCHER_LABEL in node.get("Labels", {}) for node in ray.nodes()) or has_second_autoscaler():
        return True
    report = json.loads(autoscaler_status() or b"{}").get("autoscaler_report") or {}
    known = {*(report.get("active_nodes") or {}), *(report.get("idle_nodes") or {})}
    return any(not name.startswith(("node_", "local-node")) for name in known)


@contextlib.contextmanager
def cluster(address: str | None, cores: int) -> Iterator[None]:
    """Join the cluster at `address`, or start one with so many cores; leaves it as it was.

    Raises:
        ConfigError: there is none at `address`, or it refuses this process.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed is in the store and said by us
    on_term = signal.getsignal(signal.SIGTERM)
    with own_cluster(cores) if address is None else joined(address):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_term)  # ray.init puts its own there, which exits at once
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Ray prints what its daemons say; results are printed alone
                yield
        finally:
            ray.shutdown()


COMMON: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}


@contextlib.contextmanager
def own_cluster(cores: int) -> Iterator[None]:
    """A cluster on this machine that nobody else can reach."""
    closed = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_AUTH_TOKEN_PATH": None}
    with environment(closed | PRESTART), counted_resources():
        start(cores)
        yield


def start(cores: int) -> None:
    """Start Ray's daemons; again if they do not come up in the time that Ray gives them.

    Raises:
        ConfigError: they never do.
    """
    for left in reversed(range(STARTS)):
        before = children()
        stay_on_loopback(True)
        try:
            with few_daemons():
                ray.init("local", num_cpus=cores, include_dashboard=False, _node_ip_address="127.0.0.1", **COMMON)
            return
        except Exception as error:  # Ray's, of this very type, where its daemons do not come up in 30 s
            end(children() - before)  # Ray leaves those that did; they would only make the machine slower
            ray.shutdown()
            if not left:
                raise ConfigError(
                    f"Ray could not be started on this machine, tried {STARTS} times: {last_line(error)} Its logs are "
                    f"in {logs_folder()}. Try again when less runs here, or train without it: --backend inprocess."
                ) from error
            log.warning("Ray did not start (%s) Trying again.", last_line(error))
        finally:
            stay_on_loopback(False)


def children() -> set[int]:
    """Numbers of the processes that this one has started and that live; none where the system does not tell."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # its thread has just ended
            found.update(map(int, file.read_text().split()))
    return found


def end(pids: set[int]) -> None:
    """SIGKILL these processes."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
    """The cluster at `address`; a token that is there is used, whether or not the cluster wants one."""
    mode = os.environ.get("RAY_AUTH_MODE") or ("token" if has_token() else None)
    with environment({"RAY_AUTH_MODE": mode, TRIES: os.environ.get(TRIES, JOIN_TRIES)}):
        try:
            ray.init(address=address, runtime_env=travelling_code(), **COMMON)
        except (OSError, RuntimeError, ValueError, RayError) as error:
            raise refused(address, error) from None
        yield


@contextlib.contextmanager
def environment(variables: dict[str, str | None]) -> Iterator[None]:
    """Set these variables, which Ray looks at when it begins, or unset them; put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    put(variables)
    try:
        yield
    finally:
        put(before)


def put(variables: dict[str, str | None]) -> None:
    """Set environment variables that Ray must look at again; None unsets."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    reread_token()


def knock(address: str) -> None:
    """Refuse at once an address where nobody listens; Ray itself would try for minutes.

    Raises:
        ConfigError: nobody does.
    """
    place = host_and_port(address)
    if place is None:
        return  # ``auto``, or a form that Ray judges at once
    try:
        socket.create_connection(place, timeout=KNOCK_S).close()
    except OSError as error:
        raise nobody_at(address, error) from None


def host_and_port(address: str) -> tuple[str, int] | None:
    """The parts of ``host:port``; None for another form."""
    host, colon, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if colon and port.isdigit() and "/" not in host else None


def nobody_at(address: str, error: BaseException) -> ConfigError:
    """What to say where no cluster answers."""
    return ConfigError(
        f"--address {address}: no Ray cluster answers there ({last_line(error)}). Start one with `ray start --head` or "
        f"`ray up cluster.yaml`, or leave the option out."
    )


def refused(address: str, error: BaseException) -> ConfigError:
    """What to say where a cluster could not be joined although somebody listens."""
    if host_and_port(address) is None and not isinstance(error, RayError):
        return nobody_at(address, error)
    has = "another one" if has_token() else "none"
    return ConfigError(
        f"--address {address}: what listens there does not let this process in ({last_line(error)}). Most likely the "
        f"cluster wants a token, and this machine has {has}. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or "
        f"RAY_AUTH_TOKEN_PATH, to that of its head (`ray get-auth-token` there). Otherwise it is no Ray cluster, or "
        f"one of another Ray version."
    )


def travelling_code() -> dict[str, Any]:
    """Runtime environment that brings this checkout's packages, and our settings of workers, to every node."""
    import orchestrator  # the package itself, for where it lies

    base = Path(orchestrator.__file__).absolute().parents[1]
    modules = [base / name for name in ("orchestrator", "trainers", "sweeps")]
    variables = {"OMP_NUM_THREADS": "1", **{name: SETTINGS[name] for name in FOR_WORKERS}}
    return {"py_modules": [str(path) for path in modules if path.is_dir()], "env_vars": variables}


def last_line(error: BaseException) -> str:
    """The last line of an error's text that says something."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
