"""augmentation is figure1 with and without augmentation in both rounds."""

from __future__ import annotations

from orchestrator.plan import plan
from sweeps.augmentation import sweep
from sweeps.figure1 import sweep as figure1
from trainers.augmentation import CropFlipJitter, NoAugmentation


def test_its_plain_arm_is_figure1() -> None:
    """The gap without augmentation is that of Figure 1."""
    plain = sweep.replace({"augmentation": [NoAugmentation()]})

    assert {s.key for s in plan(plain.trials()).stages} == {s.key for s in plan(figure1.trials()).stages}


def test_its_augmentation_is_the_reproductions() -> None:
    """Crops padded by 4, flips, colour jitter of 0.25, rotations by up to 2 degrees."""
    assert sweep.axes["augmentation"][1] == CropFlipJitter(pad=4, flip=True, jitter=0.25, rotation=2.0)
