"""Ray clusters of several machines on this one, started by ``ray start`` as on real ones; not a test itself.

Two kinds. `Machine` runs beside the others: same address, other ports, resources as it says. `Isolated` has network,
process ids, host name, shared memory and temporary folder of its own (Linux namespaces; needs root, unshare, ip and
nsenter), is wired to the others by a virtual switch, and can be unplugged. What all see, as a shared file system, are
this machine's other folders. No cluster sees another one: token, home and temporary folder are its own. Processes are
found by a mark in their own or their parents' environment and ended one by one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAY = (sys.executable, "-m", "ray.scripts.scripts")
WITHOUT_CLIENT = (sys.executable, ROOT / "docs" / "ray_without_client.py")  # how our files start a head
WAIT_S = 240.0
LOOK_AGAIN_S = 0.05
NODE = "WARMGRID_TEST_NODE"  # in the environment of all that runs on a machine: cluster and name
SUBNET = "10.77.0"
TOOLS = ("unshare", "nsenter", "ip", "mount", "hostname")
# As in cluster.yaml, on every node.
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_grpc_keepalive_time_ms": "10000",
    "RAY_grpc_keepalive_timeout_ms": "5000",
}
STARTS = 4  # of a node: Ray gives up after 30 s, which a loaded machine may need
NODE_SETTINGS = {"RAY_memory_monitor_refresh_ms": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
AT_ONCE = {"RAY_worker_niceness": "0"}  # by default workers wait for whatever else a machine does


@dataclass
class Machine:
    """One machine of a cluster; everything on it carries its mark.

    Attributes:
        mark: Of the cluster and this machine; the value of `NODE` in its processes' environment.
        env: Environment of all that runs on it.
    """

    mark: str
    env: dict[str, str]

    def inside(self, *words: str | Path) -> list[str]:
        """The command line that runs `words` on this machine."""
        return [str(word) for word in words]

    def where(self) -> list[str]:
        """What ``ray start`` is told of this machine's address."""
        return []

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command on this machine; what it prints comes through one pipe."""
        return subprocess.Popen(
            self.inside(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.env, cwd=ROOT
        )

    def run(self, *words: str | Path, code: int | None = 0) -> str:
        """What a command on this machine prints; fails if it ends with another exit code than `code`."""
        process = self.start(*words)
        printed, _ = process.communicate(timeout=WAIT_S)
        assert code is None or process.returncode == code, f"{words}: {process.returncode}\n{printed}"
        return printed

    def start_ray(self, *words: str) -> str:
        """Start Ray's daemons, and say what ``ray start`` prints."""
        common = ("--disable-usage-stats", "--object-store-memory=100000000")
        ray = WITHOUT_CLIENT if "--head" in words else RAY
        for _ in range(STARTS):
            process = self.start(*ray, "start", *words, *self.where(), *common)
            printed, _ = process.communicate(timeout=WAIT_S)
            if process.returncode == 0:
                return printed
            self.end()
        pytest.fail(printed)

    def processes(self, name: str = "") -> dict[int, str]:
        """Command lines of this machine's processes that contain `name`, by process id."""
        return marked(f"{NODE}={self.mark}", name)

    def kill_raylet(self) -> None:
        """SIGKILL Ray's daemon of this machine, and nothing else; its workers end by themselves."""
        (pid,) = self.processes("/raylet/raylet ") or self.processes("raylet/raylet")
        os.kill(pid, signal.SIGKILL)

    def lose(self) -> None:
        """End everything on this machine at once, as a power cut does."""
        self.end()

    def end(self) -> None:
        """SIGKILL all of Ray and of warmgrid on this machine."""
        deadline = time.monotonic() + WAIT_S
        while left := self.processes():
            assert time.monotonic() < deadline, left
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_AGAIN_S)


@dataclass
class Isolated(Machine):
    """A machine of its own as far as Linux can make one without a second kernel.

    Attributes:
        address: IP address.
        holder: Its first process, which waits for the end of its input; when it ends, all of the machine ends.
        plug: Name of its cable's other end.
        switch: Where the cable ends.
    """

    holder: subprocess.Popen[str] = field(kw_only=True)
    address: str = field(kw_only=True, default="")
    plug: str = field(kw_only=True, default="")
    switch: Isolated | None = field(kw_only=True, default=None)

    @cached_property
    def pid(self) -> int:
        """Process id of the first process, as seen from outside."""
        return int(Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()[0])

    def inside(self, *words: str | Path) -> list[str]:
        enter = ("nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid")
        return [*enter, f"--wd={ROOT}", *map(str, words)]

    def where(self) -> list[str]:
        return [f"--node-ip-address={self.address}"]

    def plug_in(self, is_in: bool = True) -> None:
        """Plug in this machine's cable, or pull it."""
        assert self.switch is not None
        self.switch.run("ip", "link", "set", self.plug, "up" if is_in else "down")

    def lose(self) -> None:
        """End everything on this machine at once: its first process takes all others along."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
            os.kill(self.pid, signal.SIGKILL)
        self.holder.kill()
        self.holder.communicate()
        self.end()


class Cluster:
    """Machines with Ray on them; the first is the head."""

    kind = "beside one another"

    def __init__(self, folder: Path, **settings: str) -> None:
        """Nothing runs yet. `settings` are added to the environment of all machines."""
        self.folder, self.settings = folder, settings
        self.name = secrets.token_hex(4)
        self.machines: list[Machine] = []
        self.address = ""
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))

    @property
    def head(self) -> Machine:
        """Where the driver runs."""
        return self.machines[0]

    def start_head(self, *options: str) -> Machine:
        """Start a head on which no stage runs."""
        machine = self.boot()
        self.machines.insert(0, machine)
        printed = machine.start_ray(
            *("--head", f"--port={self.head_port}"),
            *("--num-cpus=0", "--num-gpus=0", f"--temp-dir={self.folder / 'ray'}"),
            *(options or ("--include-dashboard=false",)),
        )
        self.address = re.search(r"--address='([^']+)'", printed)[1]
        return machine

    head_port = 0

    def add(self, cpus: int, gpus: int = 0) -> Machine:
        """Start a worker machine with these resources; Ray counts them and does not look whether they are there."""
        machine = self.boot()
        self.machines.append(machine)
        machine.start_ray(f"--address={self.address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}")
        return machine

    def boot(self) -> Machine:
        """A machine on which nothing runs."""
        mark = f"{self.name}-{len(self.machines)}-{secrets.token_hex(2)}"
        return Machine(mark, self.environment(mark))

    def environment(self, mark: str) -> dict[str, str]:
        """What processes of a machine see of the world: nothing of the user's Ray, and this checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_"))}
        private = {"HOME": str(self.folder), "TMPDIR": str(self.folder), "RAY_TMPDIR": str(self.folder)}
        ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", NODE: mark}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token")}
        return {**kept, **private, **ours, **token, **HEALTH, **NODE_SETTINGS, **AT_ONCE, **self.settings}

    def warmgrid(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start ``warmgrid`` on the head, with this cluster's address if it is one that runs stages."""
        joined = ("--address", self.address) if words[0] in ("launch", "resume") else ()
        return self.head.start(sys.executable, "-m", "orchestrator.cli", *words, *joined)

    def node_id(self, machine: Machine) -> str:
        """Ray's name of a machine."""
        (command,) = machine.processes("raylet/raylet").values()
        return re.search(r"--node[_-]id=([0-9a-f]+)", command)[1]

    def drain(self, machine: Machine, seconds: int) -> str:
        """Tell Ray that a machine is about to be taken away, as a watcher of spot interruptions does."""
        return self.head.run(
            *(*RAY, "drain-node", f"--address={self.address}", f"--node-id={self.node_id(machine)}"),
            *(
                "--reason=DRAIN_NODE_REASON_PREEMPTION",
                "--reason-message=spot",
                f"--deadline-remaining-seconds={seconds}",
            ),
        )

    def close(self) -> None:
        """End all machines."""
        for machine in self.machines:
            machine.lose()


class IsolatedCluster(Cluster):
    """Machines with addresses of their own.

    Attributes:
        files: Texts that lie in every machine's temporary folder.
        at_boot: Shell command that a machine runs first.
    """

    kind = "with addresses of their own"
    head_port = 6379

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.files: dict[str, str] = {}
        self.at_boot = "true"
        self.switch = self.isolate("switch", folder)
        self.switch.run("ip", "link", "add", "name", "br0", "type", "bridge")
        self.switch.run("ip", "addr", "add", f"{SUBNET}.254/24", "dev", "br0")
        self.switch.run("ip", "link", "set", "br0", "up")
        self.booted = 0

    def isolate(self, mark: str, own: Path) -> Isolated:
        """A machine without a cable, whose folder `own` is the cluster's folder to it."""
        setup = (
            f'hostname "{mark}" && mount -t tmpfs tmpfs /dev/shm && mount --bind "{own}" "{self.folder}" '
            f'&& mount --bind "{self.folder}/hosts" /etc/hosts && mount --bind "{self.folder}/names" /etc/resolv.conf '
            f"&& ip link set lo up && {self.at_boot} && echo ready && exec cat"
        )
        (own / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {mark}\n")
        for name, text in self.files.items():
            (own / name).write_text(text)
        (own / "names").write_text("nameserver 127.0.0.1\n")  # nobody there, who says so at once
        env = self.environment(f"{self.name}-{mark}")
        words = ["unshare", "--pid", "--net", "--ipc", "--uts", "--mount", "--fork", "--mount-proc", "sh", "-ec", setup]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return Isolated(env[NODE], env, holder=holder)

    def boot(self) -> Isolated:
        """A machine with the next address, plugged in."""
        self.booted += 1
        number = 1 if not self.machines else self.booted
        own = Path(f"{self.folder}-{self.booted}")
        own.mkdir()
        shutil.copy2(self.folder / "token", own)
        machine = self.isolate(f"node{self.booted}", own)
        machine.address, machine.plug, machine.switch = f"{SUBNET}.{number}", f"port{self.booted}", self.switch
        subprocess.run(
            [
                *("ip", "link", "add", "name", "eth0", "netns", str(machine.pid), "type", "veth"),
                *("peer", "name", machine.plug, "netns", str(self.switch.pid)),
            ],
            check=True,
        )
        machine.run("ip", "addr", "add", f"{machine.address}/24", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        machine.run("ip", "route", "add", "default", "via", f"{SUBNET}.254")
        self.switch.run("ip", "link", "set", machine.plug, "master", "br0")
        machine.plug_in()
        return machine

    def close(self) -> None:
        super().close()
        self.switch.lose()
        for own in self.folder.parent.glob(f"{self.folder.name}-*"):
            shutil.rmtree(own, ignore_errors=True)


def marked(mark: str, name: str = "") -> dict[int, str]:
    """Command lines that contain `name`, by process id, of processes started with `mark` and of what they started.

    Ray's agents and workers write their titles over their environment, so that their mark may be gone.
    """
    commands, parents, found = {}, {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            pid, variables = int(folder.name), (folder / "environ").read_bytes().split(b"\0")
            parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[pid] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # ended meanwhile, or another user's
            continue
        if mark.encode() in variables:
            found.add(pid)
    while children := {pid for pid in commands if parents[pid] in found} - found:
        found |= children
    return {pid: commands[pid] for pid in found if commands.get(pid) and name in commands[pid]}


def why_not_isolated() -> str | None:
    """What this machine lacks for `IsolatedCluster`; None if nothing."""
    if os.geteuid() != 0:
        return "machines with addresses of their own need root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"machines with addresses of their own need {', '.join(lacking)}"
    tried = subprocess.run(
        [
            *("unshare", "--pid", "--net", "--ipc", "--uts", "--mount", "--fork", "--mount-proc"),
            *("ip", "link", "add", "name", "a0", "type", "veth", "peer", "name", "a1"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"this machine makes no namespaces: {tried.stderr.strip()}" if tried.returncode else None


@contextlib.contextmanager
def cluster_of(kind: type[Cluster], **settings: str) -> Iterator[Cluster]:
    """A cluster without machines; gone, with all its processes and folders, at the end."""
    if kind is IsolatedCluster and (reason := why_not_isolated()):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="wg", dir="/tmp"))  # short: Ray's sockets lie in it, and names end at 107
    cluster = kind(folder, **settings)
    try:
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = WAIT_S) -> float:
    """Wait for what `process` does, and say how long; fails if it ends before, or takes too long."""
    began = time.monotonic()
    while not condition():
        if process.poll() is not None:
            pytest.fail(f"ended too early: {process.communicate()[0]}")
        if time.monotonic() > began + seconds:
            process.kill()
            pytest.fail(f"waited {seconds} s in vain: {process.communicate()[0]}")
        time.sleep(LOOK_AGAIN_S)
    return time.monotonic() - began
