"""What is asked of a cluster fits its machines, each for itself, and no more than it can use."""

from __future__ import annotations

import pytest

from orchestrator.ray_shapes import AHEAD, GROWTH, MOST, Limits, Shape, limits, room, room_beside

CPU, QUARTER, WHOLE = Shape(1), Shape(1, 0.25), Shape(1, 1)
GPU_NODE, CPU_NODE = {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}


def of(nodes: list[dict[str, float]], shape: Shape = QUARTER, **given: bool | int | None) -> Limits:
    """Limits at a cluster of these nodes, of one size and of one kind of stages unless told otherwise."""
    return limits(nodes, shape, CPU, **{"mixed": False, "grows": False, "most": None, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nodes", "shape", "slots"),
    [
        ([{"CPU": 3.0}, {"CPU": 3.0}], Shape(2), 2),  # not three: no stage lies on two machines
        ([GPU_NODE, CPU_NODE], QUARTER, 4),
        ([{"CPU": 2.0, "GPU": 1.0}], QUARTER, 2),
        ([{"CPU": 8.0, "GPU": 2.0}], Shape(1, 0.4), 4),  # not five: no share lies on two GPUs
        ([{"CPU": 8.0, "GPU": 3.0}], Shape(1, 2), 1),
        ([{"CPU": 2.0, "GPU": 1.0}], Shape(0, 0.1), 10),
        ([{"CPU": 0.3}], Shape(0.1), 3),
    ],
)
def test_machines_are_counted_each_for_itself(nodes: list[dict[str, float]], shape: Shape, slots: int) -> None:
    """Stages for which there is no room would wait in Ray's queue, where nothing goes before them any more."""
    assert room(nodes, shape) == slots


def test_stages_without_a_gpu_leave_the_cores_that_the_others_need() -> None:
    """Eight cores taken by small stages are a GPU that nobody can use."""
    assert room_beside([GPU_NODE, CPU_NODE], CPU, QUARTER) == 4 + 4
    assert of([GPU_NODE, CPU_NODE], mixed=True).cpu == 4 + 4 + 1
    assert of([GPU_NODE, CPU_NODE]).cpu == 12 + AHEAD


def test_a_cluster_of_one_size_is_asked_for_little_more_than_it_has() -> None:
    """What becomes ready later, and is more urgent, would stand behind all that waits already."""
    assert of([GPU_NODE]).gpu == 4 + AHEAD


def test_a_cluster_that_grows_sees_what_waits() -> None:
    """An autoscaler starts machines for what waits, and for nothing else; also where it has none at all yet."""
    assert of([], grows=True).gpu == GROWTH
    assert of([GPU_NODE] * 50, grows=True).gpu == 400


@pytest.mark.parametrize("most", [1, 7])
def test_no_more_is_asked_for_than_the_user_allows(most: int) -> None:
    """--workers is what a user pays for."""
    asked = of([GPU_NODE] * 50, grows=True, most=most)

    assert max(asked.gpu, asked.cpu, asked.total) == most
    assert of([GPU_NODE] * 5_000, grows=True) == Limits(MOST, MOST, MOST)


@pytest.mark.parametrize(("had", "then"), [(0.25, 0.5), (0.5, 1), (0.6, 1), (1, 1), (2, 2)])
def test_a_share_doubles_up_to_a_whole_gpu(had: float, then: float) -> None:
    """Ray refuses 1.2 GPUs, and nobody asked for two."""
    assert Shape(1, had).doubled == Shape(1, then)


def test_what_is_not_needed_is_not_asked_for() -> None:
    """A zero in a request keeps a stage from machines that lack the thing."""
    assert CPU.bundle == {"CPU": 1}
    assert Shape(0, 1).bundle == {"GPU": 1}
