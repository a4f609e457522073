"""Notes: what a store keeps beside results: who runs what, tracebacks, logs, events, requests to stop. No row.

Nothing here decides what was trained: lost notes cost words, not stages.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.files import Files, log


def check_note(facts: Mapping[str, Any]) -> None:
    """Make sure that a note of a running stage can be reckoned with; raises whatever it is that cannot be done."""
    int(facts["attempts"])
    for time in (facts["started_at"], facts.get("noted_at", facts["started_at"])):
        datetime.now(UTC) - datetime.fromisoformat(time)  # not without a time zone
    if not 0 <= float(facts["wall_seconds"]) < math.inf:
        raise ValueError(facts["wall_seconds"])
    if not isinstance(facts.get("columns", {}), dict) or not isinstance(facts.get("parent"), str | None):
        raise TypeError(facts)


class Notes:
    """The part of a `orchestrator.store.Store` that keeps them.

    Attributes:
        files: Of the store.
    """

    files: Files

    # Of running stages.

    def note_running(self, key: str, facts: Mapping[str, Any]) -> None:
        """Say who trains the stage since when, and at which attempt; a power cut may take it back."""
        self.files.write(f"running/{key}.json", json.dumps(facts, sort_keys=True).encode(), durable=False)

    def noted(self) -> set[str]:
        """Keys of stages of which `note_running` said something: begun, and not committed."""
        return {name.removesuffix(".json") for name in self.files.list("running")}

    def running(self, key: str) -> dict[str, Any]:
        """What `note_running` said last, {} if nothing; what cannot be read is set aside."""
        try:
            facts: dict[str, Any] = json.loads(self.files.read(f"running/{key}.json"))
            check_note(facts)
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, OverflowError):
            self.files.set_aside(f"running/{key}.json", "not what a worker notes of a running stage")
            return {}
        return facts

    # Of stages that ended, or were handed back.

    def traceback_text(self, key: str) -> str:
        """Traceback of the stage's last attempt, which raised; "" if there is none."""
        try:
            return self.files.read(f"tracebacks/{key}.txt").decode(errors="replace")
        except FileNotFoundError:
            return ""

    def keep_log(self, key: str, lines: Iterable[str]) -> None:
        """Keep the last lines that were logged while the stage ran; a store that is full goes without."""
        try:
            self.files.write(f"logs/{key}.txt", "\n".join(lines).encode(errors="replace"), durable=False)
        except StoreError as error:
            log.warning("log of stage %s not kept. %s", key, error)

    def log_lines(self, key: str) -> list[str]:
        """The last lines that were logged while the stage ran, oldest first; [] if none were kept, or not yet."""
        try:
            return self.files.read(f"logs/{key}.txt").decode(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    # What happened meanwhile.

    def note_event(self, kind: str, **facts: Any) -> None:
        """Keep what happened to workers, nodes or a stage's tries, as JSON values; never raises for a full store.

        Args:
            kind: In one word, such as ``retried``; facts that every event has are ``launch`` and ``sweep``.
        """
        now = datetime.now(UTC)
        event = {"kind": kind, "time": now.isoformat(), **facts}
        name = f"events/{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json"
        try:
            self.files.write(name, json.dumps(event, sort_keys=True).encode(), durable=False)
        except StoreError as error:
            log.warning("not noted: %s. %s", event, error)

    def events(self) -> list[dict[str, Any]]:
        """What `note_event` was told, in order of time; what cannot be read is set aside."""
        found = []
        for name in self.files.list("events"):
            try:
                event = json.loads(self.files.read(f"events/{name}"))
                found.append({**event, "kind": str(event["kind"]), "time": str(event["time"])})
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError):
                self.files.set_aside(f"events/{name}", "not what warmgrid notes of an event")
        return found

    # Asking workers to stop.

    def is_stop_requested(self, launch: str) -> bool:
        """Whether the workers of this launch were asked to stop."""
        return self.files.exists(f"stop/{launch}")

    def request_stop(self, launch: str) -> None:
        """Ask the workers of this launch to save their checkpoints and stop."""
        self.files.write(f"stop/{launch}", b"", durable=False)

    @contextmanager
    def stoppable(self, launch: str) -> Iterator[None]:
        """Remove the request to stop when the launch ends."""
        try:
            yield
        finally:
            self.files.delete(f"stop/{launch}")
