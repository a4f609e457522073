"""The cluster files are such as Ray and KubeRay accept, hold what they promise, and docs/cluster.md can be followed."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import ray
import typer
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from orchestrator.cli import app
from tests.cluster.kuberay_schema import RAY_JOB
from tests.cluster.machines import HEALTH, NODE_SETTINGS

ROOT = Path(__file__).parents[1]
LAUNCHER_FILES = ("cluster.yaml", "docs/cluster-local.yaml")
KUBERAY = "docs/kuberay.yaml"
LAUNCHING = (("warmgrid", "launch"), ("warmgrid", "resume"))
SETTINGS = {**HEALTH, **NODE_SETTINGS}


def loaded(name: str) -> Any:
    """What a file of ours holds."""
    return yaml.safe_load((ROOT / name).read_text())


def check(name: str, config: Any) -> None:
    """Raise what Ray's launcher, or KubeRay's schema, says against `config`."""
    if name == KUBERAY:
        jsonschema.validate(config, RAY_JOB)
    else:
        validate_config(prepare_config(config))


@pytest.mark.parametrize("name", [*LAUNCHER_FILES, KUBERAY])
def test_the_file_is_accepted(name: str) -> None:
    """A misspelt key would show when the cluster is paid for."""
    check(name, loaded(name))


def misspell(config: Any) -> None:
    """A letter is missing."""
    config["max_worker"] = config.pop("max_workers")


def mistype(config: Any) -> None:
    """Text where a number belongs."""
    config["idle_timeout_minutes"] = "ten"


def lose_the_head(config: Any) -> None:
    """The head is of a kind that is not there."""
    config["available_node_types"]["head"]["min_workers"] = 99
    config["head_node_type"] = "master"


def misspell_a_resource(config: Any) -> None:
    """A letter is missing further down."""
    config["available_node_types"]["gpu"]["resource"] = config["available_node_types"]["gpu"].pop("resources")


def misplace(config: Any) -> None:
    """A field of the pod stands beside it."""
    config["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["tolerations"] = []


def misquote(config: Any) -> None:
    """A number where Ray's start parameters are texts."""
    config["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def mismode(config: Any) -> None:
    """A mode that does not exist."""
    config["spec"]["rayClusterSpec"]["authOptions"] = {"mode": "tokens"}


BREAKS: list[tuple[str, Callable[[Any], None]]] = [
    *((name, change) for name in LAUNCHER_FILES for change in (misspell, mistype)),
    *(("cluster.yaml", change) for change in (lose_the_head, misspell_a_resource)),
    *((KUBERAY, change) for change in (misplace, misquote, mismode)),
]


@pytest.mark.parametrize(("name", "change"), BREAKS)
def test_a_broken_file_is_refused(name: str, change: Callable[[Any], None]) -> None:
    """A check that accepts everything would hold nothing."""
    config = copy.deepcopy(loaded(name))
    change(config)

    with pytest.raises((ValueError, jsonschema.ValidationError)):
        check(name, config)


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_every_node_gets_the_settings_that_survive_faults(name: str) -> None:
    """Without them a dead machine is noticed after minutes, and one worker without memory ends the sweep."""
    config = loaded(name)
    (setup,) = [line for line in config["setup_commands"] if ".warmgrid-env" in line and "printf" in line]
    starts = [config["head_start_ray_commands"][1], config["worker_start_ray_commands"][1]]

    assert {f"{k}={v}" for k, v in {**SETTINGS, "RAY_AUTH_MODE": "token"}.items()} <= set(setup.split())
    assert all(". ~/.warmgrid-env;" in start for start in starts)


def test_every_pod_gets_the_settings_that_survive_faults() -> None:
    """As for machines that the launcher starts; the token is the operator's."""
    cluster = loaded(KUBERAY)["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"]["containers"][0]["env"] for group in groups]

    assert all(SETTINGS.items() <= {one["name"]: one["value"] for one in env}.items() for env in pods)
    assert cluster["authOptions"] == {"mode": "token"}


def test_the_head_trains_nothing_and_nothing_costs_while_nothing_runs() -> None:
    """A driver that competes with stages, or machines that wait for work, are paid for by the user."""
    types = loaded("cluster.yaml")["available_node_types"]

    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert types["gpu"]["min_workers"] == 0
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "--num-cpus=0 --num-gpus=0" in loaded("docs/cluster-local.yaml")["head_start_ray_commands"][1]


@pytest.mark.parametrize("name", LAUNCHER_FILES)
def test_the_dashboard_is_for_the_head_alone_and_the_token_for_its_owner(name: str) -> None:
    """Who reaches either can run code on every machine."""
    config = loaded(name)
    start = config["head_start_ray_commands"][1]

    assert "--dashboard-host=127.0.0.1" in start
    assert 'ray() { python3 ~/warmgrid/docs/ray_without_client.py "$@"; }; ray start --head' in start
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]


def test_the_script_that_leaves_a_node_can_be_read_by_a_shell() -> None:
    """It runs when a machine has two minutes left."""
    subprocess.run(["sh", "-n", ROOT / "docs" / "leave-in-time.sh"], check=True)


def texts() -> Iterator[tuple[str, str]]:
    """Every shell text that users copy or that the files run, and where it stands."""
    guide = (ROOT / "docs" / "cluster.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    yield from (("docs/cluster.md", line) for block in blocks for line in block.splitlines())
    yield from (("docs/cluster.md", text) for text in re.findall(r"`((?:ray|warmgrid) [^`\n]+)`", guide))
    for name in LAUNCHER_FILES:
        config = loaded(name)
        for part in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
            yield from ((name, line) for line in config[part])
        comments = re.findall(r"^# {2,}(\S.*)$", (ROOT / name).read_text(), re.MULTILINE)
        yield from ((name, line) for line in comments)
    yield KUBERAY, loaded(KUBERAY)["spec"]["entrypoint"]
    script = (ROOT / "docs" / "leave-in-time.sh").read_text().replace("\\\n", " ")
    yield from (("docs/leave-in-time.sh", line) for line in script.splitlines() if line.startswith("ray "))


def commands() -> list[tuple[str, tuple[str, ...]]]:
    """Every command of ray or warmgrid in `texts`, those that stand in quotes too, and where it stands."""
    found = []
    for where, text in texts():
        for part in re.split(r"[;()|]|&&", text):
            words = [word for word in shlex.split(part, comments=True) if not re.fullmatch(r"[A-Za-z_]+=\S*", word)]
            if words and words[0] in ("ray", "warmgrid"):
                found.append((where, tuple(words)))
            found += [(where, tuple(shlex.split(word))) for word in words if word.startswith("warmgrid ")]
            if "--" in words:
                found.append((where, tuple(words[words.index("--") + 1 :])))
    return found


def test_launches_on_clusters_whose_gpus_are_still_to_come_ask_for_them() -> None:
    """Before the first worker is there nobody knows of its GPU: all would train on the cores of machines with one."""
    growing = ("docs/cluster.md", "cluster.yaml", KUBERAY)
    launches = [words for where, words in commands() if where in growing and words[:2] in LAUNCHING]

    assert len(launches) >= 5
    assert [words for words in launches if "--gpus-per-stage" not in words] == []


def options_of(words: tuple[str, ...]) -> tuple[set[str], list[str]] | None:
    """The options that a command has, and its own words; None if it cannot be looked at here."""
    command: Any = ray_cli if words[0] == "ray" else typer.main.get_command(app)
    rest = list(words[1:])
    while rest and hasattr(command, "commands"):
        if rest[0] == "job" and "job" not in command.commands:
            return None  # ray[default] is not installed
        command = command.commands[rest.pop(0)]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return known | {"--help"}, rest[: rest.index("--")] if "--" in rest else rest


def test_every_command_of_the_documents_exists_with_its_options() -> None:
    """A command that fails on the day of the outage is worse than none."""
    checked = [(where, words, options_of(words)) for where, words in commands()]

    wrong = [
        f"{where}: {' '.join(words)}: {word}"
        for where, words, found in checked
        if found is not None
        for word in found[1]
        if word.startswith("--") and word.split("=")[0] not in found[0]
    ]

    assert wrong == []
    assert {words[:2] for _, words, _ in checked} >= {
        *(("ray", name) for name in ("up", "down", "exec", "start", "stop", "drain-node", "job", "get-auth-token")),
        *(("warmgrid", name) for name in ("launch", "resume", "status")),
    }


def test_the_clusters_run_the_ray_that_was_measured() -> None:
    """What is set here was measured with one release; another one's head refuses our workers."""
    assert loaded(KUBERAY)["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert f"ray=={ray.__version__}" in (ROOT / "constraints.txt").read_text()
    assert isinstance(ray_cli, click.Group)
