"""cluster.yaml is one that `ray up` accepts."""

from __future__ import annotations

from pathlib import Path

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config


def test_ray_accepts_the_cluster_file() -> None:
    """A misspelt key would show when the cluster is paid for."""
    config = yaml.safe_load((Path(__file__).parents[1] / "cluster.yaml").read_text())

    validate_config(prepare_config(config))
