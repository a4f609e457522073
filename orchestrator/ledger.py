"""Ledger: which stages are committed, and their rows, be these in small files or in merged ones. It writes no rows.

A stage is committed if its row and its epochs are here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orchestrator.errors import DamageError
from orchestrator.files import Files
from orchestrator.merged import Index
from orchestrator.shelf import Shelf
from orchestrator.small import SUFFIX, read_own, small_name, small_names, sound


class Ledger:
    """The rows of one store's stages; keeps what it knows of merged files, as these never change."""

    def __init__(self, files: Files) -> None:
        """Read nothing yet."""
        self.files, self.shelf = files, Shelf(files)

    def committed(self, among: Collection[str] | None = None) -> set[str]:
        """Keys of the stages, by default all, whose result is here; a damaged row is set aside first."""
        rows, epochs = small_names(self.files, "stages"), small_names(self.files, "epochs")
        merged = self.shelf.holding()  # after the small files, as what is merged meanwhile is in both
        merged_rows, merged_epochs = merged.rows(), merged.epoch_keys()
        wanted = (rows | merged_rows) & (epochs | merged_epochs)
        wanted = wanted if among is None else wanted.intersection(among)
        read = sound(self.files, "stages", "stages", sorted(wanted & rows))
        missed = wanted - read - merged_rows  # damaged, or merged since we looked
        merged_rows |= self.shelf.holding().rows() if missed else set()
        return {key for key in wanted if key in read or key in merged_rows}

    def is_committed(self, key: str) -> bool:
        """Whether the stage's result is here, whole (its bytes are not looked at)."""
        has_row, has_epochs = (self.files.exists(small_name(table, key)) for table in ("stages", "epochs"))
        if has_row and has_epochs:
            return True
        merged = self.shelf.holding()
        return (has_row or merged.has_row(key)) and (has_epochs or merged.has_epochs(key))

    def row(self, key: str) -> dict[str, Any]:
        """The stage's row of the table `stages`.

        Raises:
            FileNotFoundError: there is none.
            DamageError: it is damaged, and was set aside.
        """
        name, refused, data = small_name("stages", key), None, b""
        try:
            data = self.files.read(name)
            found: dict[str, Any] = read_own("stages", data, key).to_pylist()[0]
            return found
        except FileNotFoundError:
            pass
        except DamageError as error:
            self.files.set_aside(name, str(error), data)
            refused = error
        merged = self.merged_row(key)
        if merged is not None:
            return merged
        if refused is not None:
            raise DamageError(f"row of stage {key}: {refused}. Resume: the stage is trained again.") from None
        raise FileNotFoundError(2, "No such file", self.files.where(name))

    def merged_row(self, key: str) -> dict[str, Any] | None:
        """The stage's row in the newest merged file that has it, None if none does."""
        while (index := self.merged_with(key)) is not None:
            if (table := self.shelf.row(index, key)) is not None:
                row: dict[str, Any] = table.to_pylist()[0]
                return row
        return None

    def merged_with(self, key: str) -> Index | None:
        """The newest merged file with the stage's row, None if there is none."""
        return next((index for index in self.shelf.holding().stages if key in index.places), None)

    def has_rows(self) -> bool:
        """Whether any stage's row is here."""
        return bool(self.files.list("stages")) or bool(self.shelf.holding().rows())

    def has_cells(self, name: str) -> bool:
        """Whether the cells of this file are here, be they merged."""
        stem = name.removeprefix("cells/").removesuffix(SUFFIX)
        return self.files.exists(name) or any(stem in index.places for index in self.shelf.indexes("cells"))
