"""What is fast rounds as it says and no further: each option for speed against the plain step, and bf16 end to end.

Only the order of memory and of operations differs between the plain form and the fast one of a network or an optimizer,
so in fp32 they part by rounding alone; bf16 keeps 8 bits of every factor.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.accuracy_sweep import PlainAdam, PlainResNet18
from orchestrator.errors import ConfigError, InterruptedStage
from tests.trainers.made import FIRST, MemoryIO, TakenAwayIO, run, same_bits, without_times
from trainers import networks, precision
from trainers.checkpoints import tensors_of
from trainers.models import MLP, LinearSVM, Logistic, Model, ResNet18
from trainers.optimizers import SGD, Adam, Optimizer
from trainers.precision import Precision, check_precision, products, rounding
from trainers.regularizers import ConfidencePenalty
from trainers.stage_config import Supervised
from trainers.supervised import train, turns

CPU = torch.device("cpu")
SHAPE, CLASSES, BATCH = (3, 32, 32), 10, 32
MODELS: list[Model] = [Logistic(), LinearSVM(), MLP(depth=3, activation="tanh"), ResNet18(width=4)]
# Most that a step's gradients may be off, as a part of their norm; measured: 3e-7 in fp32 and 0.006 in bf16. In a fresh
# ResNet one ReLU that rounding turns on or off is 0.001 of them: 0.003 and 0.36, on photographs the same.
BOUNDS = {"fp32": 1e-5, "bf16": 0.02}
RESNET_BOUNDS = {"fp32": 0.03, "bf16": 0.5}
HALF = dataclasses.replace(FIRST, precision="bf16")


def batch() -> tuple[Tensor, Tensor]:
    """A batch of made images, of 4 x 4 patches each, and their labels."""
    draw = torch.Generator().manual_seed(1)
    patches = torch.rand((BATCH, 3, 4, 4), generator=draw) * 2 - 1
    return patches.repeat_interleave(8, 2).repeat_interleave(8, 3), torch.randint(CLASSES, (BATCH,), generator=draw)


def made(model: Model) -> nn.Module:
    """A network whose weights depend on the model's sizes alone."""
    return model.build(SHAPE, CLASSES, torch.Generator().manual_seed(2))


def gradients(model: Model, kind: Precision = "fp32", dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """The gradients of one step, weight by weight, float64."""
    net, (x, y) = made(model).to(dtype), batch()
    with products(kind):
        with rounding(kind, CPU):
            loss = model.losses(net(x.to(dtype)), y).mean()
        loss.backward()  # type: ignore[no-untyped-call] # torch's own
    assert all(weight.grad is not None and weight.grad.dtype == dtype for weight in net.parameters())
    return [weight.grad.double() for weight in net.parameters() if weight.grad is not None]


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """How far two lists of gradients are apart, as a part of the norm of `other`."""
    flat, reference = (torch.cat([g.flatten() for g in each]) for each in (one, other))
    return ((flat - reference).norm() / reference.norm()).item()


@pytest.mark.parametrize("model", MODELS, ids=str)
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_a_step_rounds_as_far_as_it_says(model: Model, kind: Precision) -> None:
    """Further, and another model is trained; not at all, and the option does nothing."""
    bounds, off = RESNET_BOUNDS if model.has_batch_norm else BOUNDS, apart(gradients(model, kind), exact(model))

    assert off < bounds[kind]
    assert (off > 1e-3) == (kind == "bf16") or model.has_batch_norm


def exact(model: Model) -> list[Tensor]:
    """The gradients of one step without rounding to speak of."""
    return gradients(model, dtype=torch.float64)


def test_channels_last_is_an_order_in_memory_alone() -> None:
    """Revision 2 of ResNet18 has revision 1's weights, and in float64, where rounding is small, its gradients."""
    fast, plain = made(ResNet18(width=4)), made(PlainResNet18(width=4))

    assert all(torch.equal(one, other) for one, other in zip(fast.parameters(), plain.parameters(), strict=True))
    assert fast.get_parameter("stem.weight").is_contiguous(memory_format=torch.channels_last)
    assert apart(exact(ResNet18(width=4)), exact(PlainResNet18(width=4))) < 1e-10


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_fused_step_of_adam_is_the_plain_one(decay: float) -> None:
    """Revision 2 of Adam follows revision 1 over several steps, its bias correction and its decay too."""
    assert torch.allclose(after_steps(Adam(weight_decay=decay)), after_steps(PlainAdam(weight_decay=decay)), atol=1e-6)


def after_steps(rule: Optimizer, steps: int = 5) -> Tensor:
    """All weights of a network after some steps."""
    net, (x, y) = made(MLP()), batch()
    optimizer = rule.build(net, 0.001, 0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()  # type: ignore[no-untyped-call] # torch's own
        optimizer.step()
    return nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.mark.parametrize("model", [MLP(), MLP(depth=3, activation="tanh"), MLP(bias=False)], ids=str)
@pytest.mark.parametrize("size", [1, 15, 16, 31, 64, 65])
def test_a_swapped_product_is_the_product(model: MLP, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that is right for one size of batch alone would go wrong in an epoch's last batch."""
    net, x = made(model), torch.rand((size, *SHAPE), generator=torch.Generator().manual_seed(size))
    fast = net(x)
    monkeypatch.setattr(networks, "SWAPPED", {**networks.SWAPPED, "batch": range(0)})

    assert torch.allclose(fast, net(x), rtol=1e-5, atol=1e-6)


def test_products_of_a_usual_batch_are_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above compares a product with itself."""
    asked = []
    addmm: Callable[..., Tensor] = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args: asked.append(len(args)) or addmm(*args))

    made(MLP())(batch()[0])

    assert len(asked) == 1


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_loss_has_all_digits(model: Model) -> None:
    """A loss in bf16 has two digits, and an epoch's mean could not fall below its rounding."""
    logits, y = torch.randn((BATCH, CLASSES), generator=torch.Generator().manual_seed(3)).bfloat16(), batch()[1]

    assert torch.equal(model.losses(logits, y), model.losses(logits.float(), y))


def test_a_penalty_has_all_digits() -> None:
    """The entropy of a distribution of two digits is another penalty."""
    loss = ConfidencePenalty(size=0.5).loss
    logits, y = torch.randn((BATCH, CLASSES), generator=torch.Generator().manual_seed(3)).bfloat16(), batch()[1]

    one, other = (loss(nn.Identity(), x, y, MLP().losses)[0] for x in (logits, logits.float()))

    assert torch.equal(one, other)


@pytest.mark.parametrize("optimizer", [SGD(momentum=0.9), Adam()], ids=str)
def test_a_stage_in_bf16_is_its_own_and_leaves_float32(optimizer: Optimizer) -> None:
    """Children in any precision start from it, and small updates would be lost in weights of 8 bits."""
    plain, half = (run(dataclasses.replace(FIRST, optimizer=optimizer, precision=kind)) for kind in ("fp32", "bf16"))

    assert not same_bits(half.state, plain.state)
    assert HALF.stage_columns()["precision"] == "bf16"
    assert half.resume_point is not None
    tensors = half.state | half.resume_point().tensors
    assert {str(array.dtype) for array in tensors.values()} == {"float32"}


@pytest.mark.parametrize(
    "config", [HALF, dataclasses.replace(HALF, model=ResNet18(width=2), optimizer=Adam())], ids=str
)
def test_a_stage_in_bf16_goes_on_with_the_same_bits(config: Supervised) -> None:
    """Interrupted or not, a key has one result; what Adam remembers lies in memory as the weights do."""
    whole, taken = run(config), TakenAwayIO()
    taken.epoch = 1
    with pytest.raises(InterruptedStage):
        train(config, taken)

    resumed = train(config, MemoryIO(saved=taken.saved))

    assert without_times(resumed) == without_times(whole)
    assert same_bits(resumed.state, whole.state)


def test_what_is_stored_does_not_lie_as_it_lay_in_memory() -> None:
    """Readers of a file's bytes, older checkpoints and their digests know one order, the contiguous one."""
    net = made(ResNet18(width=2))
    rule = Adam().build(net, 0.1, 0.0)
    net(batch()[0]).sum().backward()
    rule.step()

    assert not net.get_parameter("stem.weight").is_contiguous()
    assert all(array.flags.c_contiguous for array in tensors_of(net, rule).values())


def test_no_turn_leaves_its_rounding_to_the_next() -> None:
    """In a pack the next turn is another stage's, in fp32."""
    running = turns(HALF, MemoryIO())

    assert not any(torch.is_autocast_enabled("cpu") for _ in running)


@pytest.mark.parametrize("before", [(False, False), (False, True)])
def test_tf32_is_put_back(before: tuple[bool, bool], request: pytest.FixtureRequest) -> None:
    """A pack mixes precisions in one process, and a stage that raises must not leave its own behind."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    inside, found = [], (matmul.allow_tf32, cudnn.allow_tf32)

    def put(switches: tuple[bool, bool]) -> None:
        matmul.allow_tf32, cudnn.allow_tf32 = switches

    def fails() -> None:
        with products("tf32"):
            inside.append((matmul.allow_tf32, cudnn.allow_tf32))
            raise ZeroDivisionError

    request.addfinalizer(lambda: put(found))
    put(before)
    with pytest.raises(ZeroDivisionError):
        fails()

    assert (inside, (matmul.allow_tf32, cudnn.allow_tf32)) == ([(True, True)], before)


def test_tf32_is_refused_where_there_is_none() -> None:
    """Trained in fp32 under its name, it would be filed as a result that it is not."""
    with pytest.raises(ConfigError, match=r"precision='tf32' on device cpu: .* Take 'fp32' or 'bf16'"):
        run(dataclasses.replace(FIRST, precision="tf32"))


def test_a_cpu_that_is_slow_in_bf16_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody asks for a speed option that costs time, and nobody reads a warning for every stage."""
    precision.warn_of_a_slow_cpu.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)

    with caplog.at_level(logging.WARNING):
        for kind in ("fp32", "bf16", "bf16"):
            check_precision(kind, CPU)

    assert [record.message for record in caplog.records] == [
        "precision='bf16': this processor has no AMX; steps take longer here than in fp32."
    ]


def test_a_cpu_that_is_fast_in_bf16_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning where nothing is wrong is the end of all warnings."""
    precision.warn_of_a_slow_cpu.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)

    check_precision("bf16", CPU)

    assert not caplog.records


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: TF32 is a card's")
def test_tf32_rounds_a_product_on_a_card() -> None:
    """Never executed where this was written: no card was at hand."""
    a: Any = torch.rand((512, 512), device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    exact = (a.double() @ a.double()).float()
    with products("tf32"):
        rounded = a @ a

    assert 1e-5 < ((rounded - exact).norm() / exact.norm()).item() < 1e-2
    assert ((a @ a - exact).norm() / exact.norm()).item() < 1e-6
