"""Record: the row of the table `stages` that a worker writes of its stage, committed or failed; it writes nothing."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.key import canonical_text
from orchestrator.seam import Outcome, Status
from orchestrator.spec import plain

if TYPE_CHECKING:
    from orchestrator.worker import Handout, Options

LONGEST_ERROR = 500  # characters of an error in a table; the whole traceback is a file of its own


def one_line(error: BaseException) -> str:
    """`error` as the end of its traceback says it, on one line of at most LONGEST_ERROR characters."""
    text = " ".join(" ".join(traceback.format_exception_only(error)).split())
    text = text.encode(errors="replace").decode()  # half of a surrogate pair fits into no table
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."


def known_columns(handout: Handout) -> dict[str, Any]:
    """Every column of the table `stages`: the config's where it gives a fitting value, else null."""
    from orchestrator.columns import STAGES
    from orchestrator.schema import value_faults

    given = handout.config.stage_columns()
    known = {column.name: given.get(column.name) for column in STAGES}
    return {c.name: None if value_faults(c, plain(known[c.name])) else known[c.name] for c in STAGES}


def provenance(handout: Handout, facts: Mapping[str, Any], options: Options, wall_seconds: float) -> dict[str, Any]:
    """The columns of the table `stages` that do not come from the outcome; the measured ones null."""
    config = handout.config
    return {
        **known_columns(handout),
        "key": handout.key,
        "parent": handout.parent_key,
        "trainer": config.trainer,
        "version": config.version,
        "config": canonical_text(config),
        "host": facts["host"],
        "pack_size": options.pack_size,
        "attempts": facts["attempts"],
        "continued_from": facts.get("continued_from"),
        "wall_seconds": wall_seconds,
        "started_at": datetime.fromisoformat(facts["started_at"]),
        "finished_at": datetime.now(UTC),
        "warmgrid_version": options.warmgrid_version,
    }


def checked(outcome: object, trainer: str) -> Outcome:
    """`outcome` of a trainer, if it is one that can be committed."""
    if isinstance(outcome, Outcome) and outcome.status.is_final:
        return outcome
    raise ConfigError(
        f"{trainer} gave back {outcome!r:.200}. A trainer gives back an Outcome that is done or diverged."
    )


def failed_row(
    handout: Handout, facts: Mapping[str, Any], options: Options, wall_seconds: float, error: str
) -> dict[str, Any]:
    """The row of the table `stages` of an attempt that failed."""
    ended = {"status": str(Status.FAILED), "error": error, "epochs": facts["epoch"]}
    return {**provenance(handout, facts, options, wall_seconds), **ended}


def committed_row(handout: Handout, outcome: Outcome, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the table `stages` of a stage that ended by its own rule.

    Raises:
        ConfigError: the trainer measured what the config or the worker decides.
    """
    measured = {**outcome.metrics, **outcome.versions}
    if decided := [name for name in measured if provenance.get(name) is not None]:
        raise ConfigError(f"{handout.config.trainer} measured {', '.join(decided)}, which is decided before it begins.")
    ended = {"status": str(outcome.status), "stop_reason": outcome.stop_reason, "device": outcome.device}
    return {**provenance, **handout.config.stage_columns(), **measured, **ended}
