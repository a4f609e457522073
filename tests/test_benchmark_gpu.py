"""The GPU benchmark is ready to be run: it runs on a CPU from end to end, and says what it is where there is no GPU."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_machine, gpu_process, throughput
from benchmarks.gpu import CAPTURED, EAGER, LOOP, MAIN, Case, Found, Meters, cases, goals, pack, several
from benchmarks.gpu_fused import fuse
from benchmarks.gpu_process import GpuRate
from benchmarks.throughput import Meter, together
from trainers.models import MLP, ResNet18
from trainers.seeds import stream


class Inside:
    """In place of a measuring process: what such a one does with its standard input, in this process."""

    def __init__(self, module: str, **_variables: str) -> None:
        assert module == "benchmarks.gpu_process"
        self._asked = ""

    def ask(self, what: str, **given: Any) -> None:
        self._asked = json.dumps({"what": what, **given}) + "\n{}\n"

    def wait_until_ready(self) -> None:
        """It is asked and started with `answer`."""

    go = close = wait_until_ready

    def answer(self) -> Any:
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
            patch.setattr(sys, "stdin", io.StringIO(self._asked))
            gpu_process.serve()
        ready, answer = map(json.loads, said.getvalue().splitlines())
        assert ready == {"ready": True}
        return answer["answer"]


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Made in no time."""
    throughput.made_images.cache_clear()
    monkeypatch.setattr(throughput, "MOST_IMAGES", gpu.QUICK.images)
    yield
    throughput.made_images.cache_clear()


@pytest.mark.usefixtures("few_images")
def test_it_runs_on_a_cpu_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first GPU that is lent for half an hour is no place to look for a typing error."""
    monkeypatch.setattr(gpu, "Meter", Inside)
    assert gpu.main(["--device", "cpu", "--quick", "--output", str(tmp_path)]) == 0

    facts, shown = json.loads((tmp_path / "gpu.json").read_text()), capsys.readouterr().out
    assert {name: len(rates) for name, rates in facts["rates"].items()} == {"logistic, 16": 5, "MLP, 16": 2}
    assert all(rate > 0 for rates in facts["rates"].values() for found in rates.values() for rate in found)
    assert shown.strip() == (tmp_path / "gpu.md").read_text().strip()
    assert shown.count("not measured") == 3


def test_a_measuring_process_answers_and_says_when_it_ended() -> None:
    """The variants of a card are measured in up to 64 of them."""
    meter = Meter("benchmarks.gpu_process")
    with contextlib.closing(meter):
        (facts,) = together([meter], "facts", device="cpu", models=["logistic"])
        assert facts == {"card": "cpu", "memory_gib": None, "cuda": None, "flops": {"logistic": 4 * 30_720}}
        with pytest.raises(RuntimeError, match="the measuring process ended: exit 1"):
            together([meter], "nothing that it knows")


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

    kept: list[Found] = []
    found = gpu.measure_all([goal, other], gpu.FULL, "cpu", time.monotonic(), {}, kept.append)

    assert found.rates == {"goal, 128": {LOOP.name: [1.0], CAPTURED.name: [1.0]}}
    assert kept == [found]


class Fails(Inside):
    """A measuring process that ends whenever it is asked for a pack."""

    closed = 0

    def ask(self, what: str, **given: Any) -> None:
        self.answers = {"facts": {"card": "made", "cuda": "1", "flops": {"": 1.0}}, "ceiling": 1.0}
        self.answers["rate"] = vars(rate(given.get("batch_size", 0)))
        self.what, self.ends = what, given.get("members", 1) > 1

    def answer(self) -> Any:
        if self.ends:
            raise RuntimeError("the measuring process ended: exit 1")
        return self.answers[self.what]

    def close(self) -> None:  # type: ignore[override] # a method as well
        Fails.closed += 1
        if self.ends:
            raise BrokenPipeError


def test_a_variant_that_fails_costs_its_own_figures_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of it was executed on a card yet: the first fault must not end the half hour."""
    monkeypatch.setattr(gpu, "Meter", Fails)
    monkeypatch.setattr(gpu, "quick_cases", lambda _: [Case("", 8, [EAGER, pack(4), CAPTURED])])

    assert gpu.run("cpu", gpu.QUICK, 1, tmp_path, quick=True) == 1

    facts = json.loads((tmp_path / "gpu.json").read_text())
    assert facts["rates"] == {", 8": {EAGER.name: [8.0], CAPTURED.name: [8.0]}}
    assert facts["failed"] == {", 8": {pack(4).name: "the measuring process ended: exit 1"}}
    assert f"| {pack(4).name} | failed |" in (tmp_path / "gpu.md").read_text()
    assert Fails.closed == 2  # the one that ended, and the one in its place


def test_processes_of_another_kind_outlive_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 of them take a minute to start."""
    monkeypatch.setattr(gpu, "Meter", Inside)
    meters = Meters({})
    theirs, ours = meters.take(several("authors", 2, mps=False)), meters.take(EAGER)

    meters.drop(CAPTURED)

    assert meters.take(several("authors", 2, mps=False)) == theirs
    assert meters.take(EAGER) != ours


@pytest.mark.parametrize("batch_size", [16, 100, 512, 30_000])
def test_an_epoch_has_whole_batches(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is counted as one: with 39 and a rest of 32 images, 2 % of what is told was never trained on."""
    asked = list[dict[str, Any]]()
    monkeypatch.setattr(gpu, "together", lambda *_, **given: asked.append(given) or [vars(rate(1))])
    case, power = Case("MLP", batch_size, [EAGER]), gpu_machine.Power("cpu")

    gpu.measure(Found(), case, EAGER, gpu.FULL, "cpu", NoMeters({}), power)  # type: ignore[arg-type] # takes none

    assert asked[0]["images"] % batch_size == 0
    assert 0 < asked[0]["images"] <= max(20_000, batch_size)


def test_without_its_multi_process_service_a_card_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a container it may not start."""
    monkeypatch.setattr(gpu_machine.shutil, "which", lambda _: "/bin/false")

    with gpu_machine.service("cuda", quick=False) as variables:
        assert variables == {}

    assert "without the multi-process service: " in capsys.readouterr().err
