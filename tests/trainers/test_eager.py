"""A stage leaves torch's compiler unimported, and its optimizers compute what torch's own do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAGE = """
import sys
from dataclasses import replace
from tests.trainers.made import FIRST, MemoryIO
from trainers.models import ResNet18
from trainers.optimizers import SGD, Adam
from trainers.supervised import train

for optimizer in (SGD(momentum=0.9), Adam()):
    first = replace(FIRST, model=ResNet18(width=2), optimizer=optimizer)
    parent = MemoryIO()
    state = train(first, parent).state
    train(first, MemoryIO(saved=parent.saved[:1]))  # resumed
print(sorted(name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules))
"""
SAME = """
import torch
from torch import nn
from trainers.eager import leave_out_compiler

def trained(kind, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    rule = kind(net.parameters(), lr=0.1, weight_decay=0.01, **options)
    for _ in range(5):
        rule.zero_grad()
        net(torch.rand(4, 5)).square().sum().backward()
        rule.step()
    return [weight.detach() for weight in net.parameters()], rule.state_dict()["state"]

kinds = [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {}), (torch.optim.Adam, {"fused": True})]
before = [trained(kind, **options) for kind, options in kinds]
leave_out_compiler()
after = [trained(kind, **options) for kind, options in kinds]
assert all(kind.step.__wrapped__.__code__.co_name == "step" for kind, _ in kinds), "the steps are torch's own still"
for (weights, memory), (others, other) in zip(before, after, strict=True):
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    pairs = [(memory[i][name], other[i][name]) for i in memory for name in memory[i]]
    assert pairs and all(torch.equal(a, b) for a, b in pairs if a is not None)
print("same")
"""


def said_by(code: str) -> str:
    """What a fresh process that runs `code` prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_stage_leaves_the_compiler_unimported() -> None:
    """Every worker would start 4 seconds later. After an upgrade of torch: see how torch/_compile.py and
    torch/optim/optimizer.py import torch._dynamo now, and adapt trainers/eager.py; until then it is only slower.
    """
    assert said_by(STAGE) == "[]"


def test_steps_without_the_compiler_have_the_same_bits() -> None:
    """What starts sooner must not train otherwise: results of both stand in one store."""
    assert said_by(SAME) == "same"
