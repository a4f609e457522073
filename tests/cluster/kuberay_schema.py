"""What KubeRay's RayJob (ray.io/v1) takes, as a JSON schema of the fields that docs/kuberay.yaml uses; no test.

Written from the API reference of KubeRay 1.7; a field that is not named here is refused, which finds misspelt ones.
"""

from __future__ import annotations

from typing import Any

TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": r"^[0-9.]+([KMGT]i?|m)?$"}}


def fields(*required: str, **known: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


def items(one: dict[str, Any]) -> dict[str, Any]:
    """A list of at least one."""
    return {"type": "array", "items": one, "minItems": 1}


CONTAINER = fields(
    *("name", "image", "resources"),
    name=TEXT,
    image=TEXT,
    resources=fields("requests", "limits", requests=QUANTITIES, limits=QUANTITIES),
    securityContext=fields(runAsNonRoot=FLAG, allowPrivilegeEscalation=FLAG),
    env=items(fields("name", "value", name=TEXT, value=TEXT)),
    volumeMounts=items(fields("name", "mountPath", name=TEXT, mountPath=TEXT)),
    lifecycle=fields(preStop=fields("exec", exec=fields("command", command=items(TEXT)))),
)
POD = fields(
    "containers",
    serviceAccountName=TEXT,
    terminationGracePeriodSeconds=COUNT,
    tolerations=items(fields(key=TEXT, operator={"enum": ["Exists", "Equal"]})),
    containers=items(CONTAINER),
    volumes=items(fields("name", name=TEXT, emptyDir=fields(medium={"enum": ["", "Memory"]}, sizeLimit=TEXT))),
)
TEMPLATE = fields("spec", metadata=fields(labels=TEXTS), spec=POD)
WORKERS = fields(
    *("groupName", "template"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
CLUSTER = fields(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=fields(mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=fields(version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT),
    headGroupSpec=fields("template", rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs=items(WORKERS),
)
RAY_JOB = fields(
    *("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields("name", name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?$"}),
    spec=fields(
        *("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
        backoffLimit=COUNT,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)
