"""Resume points: checkpoints of running stages, and ends of extendable ones; damaged ones are passed over."""

from __future__ import annotations

from orchestrator.errors import DamageError
from orchestrator.files import Files
from orchestrator.seam import Checkpoint
from orchestrator.tensors import open_checkpoint, seal_checkpoint

CHECKPOINTS_KEPT = 2


class ResumePoints:
    """The part of a `orchestrator.store.Store` that keeps them.

    Attributes:
        files: Of the store.
    """

    files: Files

    def save_checkpoint(self, key: str, epoch: int, checkpoint: Checkpoint) -> None:
        """Keep the resume point after `epoch` epochs, and the one before it."""
        folder = f"checkpoints/{key}"
        self.files.write(f"{folder}/{epoch_name(epoch)}", seal_checkpoint(checkpoint))
        for old in self.files.list(folder)[:-CHECKPOINTS_KEPT]:
            self.files.delete(f"{folder}/{old}")

    def load_checkpoint(self, key: str) -> Checkpoint | None:
        """The newest sound resume point of a running stage; a damaged one is set aside for the one before it."""
        found = self.resume_point(key)
        return found and found[0]

    def resume_point(self, key: str, trajectory: tuple[str, int] | None = None) -> tuple[Checkpoint, int | None] | None:
        """The newest sound checkpoint that a stage can go on from.

        Args:
            trajectory: As `Stage.trajectory`: points on this way, up to this number of epochs, are looked at too.

        Returns:
            The checkpoint, and the number of its epochs if another stage made it; or None.
        """
        found = [(name, f"checkpoints/{key}/{name}", None) for name in self.files.list(f"checkpoints/{key}")]
        way, most = trajectory or ("", 0)
        points = [name for name in self.files.list(f"points/{way}") if name <= epoch_name(most)] if way else []
        for _, path, made in sorted([*found, *((name, f"points/{way}/{name}", int(name)) for name in points)])[::-1]:
            data = b""
            try:
                data = self.files.read(path)
                return open_checkpoint(data), made
            except FileNotFoundError:  # another worker has just set it aside, or committed and tidied up
                continue
            except DamageError as error:
                self.files.set_aside(path, f"{error}; the checkpoint before it is used, if there is one", data)
        return None

    def save_point(self, way: str, epoch: int, point: Checkpoint) -> None:
        """Keep the end of a stage for stages of its trajectory that end later."""
        name = f"points/{way}/{epoch_name(epoch)}"
        if not self.files.exists(name):
            self.files.write(name, seal_checkpoint(point))


def epoch_name(epoch: int) -> str:
    """Name of a resume point; names sort as epochs do."""
    return f"{epoch:08d}"
