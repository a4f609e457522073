"""Eager: keeps torch's compiler out of a process that compiles nothing; torch is imported where it is needed.

torch imports its compiler, ``torch._dynamo``, when the first optimizer is made, only to be able to leave the
optimizer alone while something is compiled: longer than all else that a worker does before its first step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
GRADED = "_use_grad"  # torch's name of what a `step` is wrapped in, which asks the compiler at every step


@cache
def leave_out_compiler() -> None:
    """Have torch's SGD and Adam of this process call no compiler; what they compute stays the same, bit for bit.

    Their steps then also have no hooks and no name in a profile, which took 10 us of each. Where a release of torch
    is written otherwise, nothing is changed: the compiler is imported as before, and only time is lost
    (tests/trainers/test_eager.py tells).
    """
    from torch import no_grad
    from torch.optim import SGD, Adam, Optimizer

    for name in METHODS:
        method = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if method is not None:
            vars(method).setdefault("__dynamo_disable", method)  # what torch/_compile.py looks for before it imports
    for kind in (SGD, Adam):
        step = plain_step(kind.step)
        if step is not None:
            graphless: Any = no_grad()(step)
            graphless.hooked = True  # or torch wraps it when it makes the first optimizer
            kind.step = graphless  # type: ignore[method-assign]


def plain_step(step: Callable[..., Any]) -> Callable[..., Any] | None:
    """What torch wraps to a class's `step`; None where it does not wrap it as torch 2.15 does."""
    inner: Callable[..., Any] | None = getattr(step, "__wrapped__", None)
    if inner is None or step.__code__.co_name == GRADED:
        return inner
    return plain_step(inner)
