"""The GPU benchmark is ready to be run: it runs on a CPU from end to end, and says what it is where there is no GPU."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import CAPTURED, LOOP, MAIN, Case, Found, cases, goals, several
from benchmarks.gpu_fused import fuse
from benchmarks.gpu_process import GpuRate
from trainers.models import MLP, ResNet18
from trainers.seeds import stream


def test_it_runs_on_a_cpu_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first GPU that is lent for half an hour is no place to look for a typing error."""
    assert gpu.main(["--device", "cpu", "--quick", "--output", str(tmp_path)]) == 0

    facts, shown = json.loads((tmp_path / "gpu.json").read_text()), capsys.readouterr().out
    assert {name: len(rates) for name, rates in facts["rates"].items()} == {"logistic, 16": 5, "MLP, 16": 2}
    assert all(rate > 0 for rates in facts["rates"].values() for found in rates.values() for rate in found)
    assert shown.strip() == (tmp_path / "gpu.md").read_text().strip()
    assert shown.count("not measured") == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a CUDA device, and it would be measured")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of a CPU under the heading GPU would be believed."""
    assert gpu.main(["--output", str(tmp_path / "none")]) == 2

    assert "No CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("model", [MLP(width=8), ResNet18(width=2)], ids=str)
def test_a_fused_network_does_what_its_members_do(model: MLP | ResNet18) -> None:
    """A variant that computes something else, and is fast, would be recommended."""
    net = model.build((3, 8, 8), 10, stream(7, "weights", 0))
    x = torch.randn(3, 5, 3, 8, 8, generator=stream(7, "images"))

    together = fuse(net, 3)(x.transpose(0, 1).flatten(1, 2)).view(5, 3, 10)

    for member in range(3):
        torch.testing.assert_close(together[:, member], net(x[member]))


def rate(images_per_s: float) -> GpuRate:
    """What a process measured."""
    return GpuRate(int(images_per_s), 1.0, 2.0, 100.0)


def test_goals_compare_with_the_loop_the_best_fraction_and_the_bound() -> None:
    """10,000 by the loop, 30,000 by four, 45,000 by eight of them: ours is 40 and 8.9 times, and half of the bound."""
    theirs, ours = [several("authors", count, mps=False) for count in (4, 8)], CAPTURED
    quick = several("ours", 4, mps=False)  # no fraction of theirs
    case = Case(*MAIN, [LOOP, *theirs, ours, quick])
    found = Found({"card": "a card", "flops": {MAIN[0]: 1e6}}, {"bf16": [0.8]})
    found.note(case, LOOP, [rate(10_000)], None)
    found.note(case, theirs[0], [rate(7_500)] * 4, None)
    found.note(case, theirs[1], [rate(5_625)] * 8, None)
    found.note(case, quick, [rate(50_000)] * 4, None)
    found.note(case, ours, [rate(400_000)], watts=600.0)

    assert [goal.reached for goal in goals(found, case)] == pytest.approx([40.0, 400 / 45, 0.5])
    assert [goal.verdict for goal in goals(found, case)] == ["met"] * 3
    assert found.peaks[case.name][theirs[1].name] == 800
    assert found.joules[case.name] == {ours.name: 1.5}


def test_what_is_measured_has_names_of_its_own() -> None:
    """Two variants of one name would be two rounds of one."""
    for case in cases(mps=True):
        names = [variant.name for variant in case.variants]
        assert len(set(names)) == len(names)


def test_the_case_of_the_goals_is_measured_first_and_most_often() -> None:
    """Half an hour of a card is not enough for three rounds of everything."""
    goal, other = (Case(name, 128, [LOOP]) for name in ("goal", "other"))

    assert gpu.queue([goal, other], 1) == [goal, other]
    assert gpu.queue([goal, other], 2) == [goal, goal, other, goal, other]


class NoMeters:
    """No process at all."""

    def __init__(self, _mps: object) -> None:
        """There is nothing to start."""

    def take(self, _variant: object) -> list[Any]:
        return []

    def close(self) -> None:
        """Nothing was started."""


def test_after_its_time_only_the_case_of_the_goals_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lent card is taken back in the middle of a table; what was measured must be written before."""
    answer = {"facts": {"card": "made", "flops": {}}, "ceiling": 1.0}
    monkeypatch.setattr(gpu, "Meters", NoMeters)
    monkeypatch.setattr(gpu, "together", lambda _meters, what, **_: [answer[what]])
    monkeypatch.setattr(gpu, "measure", lambda found, case, variant, *_: found.note(case, variant, [rate(1)], None))
    goal, other = (Case(name, 128, [LOOP, CAPTURED]) for name in ("goal", "other"))

    found = gpu.measure_all([goal, other], gpu.FULL, "cpu", time.monotonic(), {})

    assert found.rates == {"goal, 128": {LOOP.name: [1.0], CAPTURED.name: [1.0]}}
