"""Happened: the events of a sweep's launches as sentences, like ones counted together; reads no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

WITH_NODE = timedelta(minutes=3)  # a worker's death so long before or after its node's is the same event
Event = Mapping[str, Any]


@dataclass
class Group:
    """Events that are told in one sentence.

    Attributes:
        keys: Of the stages that they befell, each once, as often as it happened to it.
    """

    first: Event
    last: Event
    count: int = 0
    keys: Counter[str] = field(default_factory=Counter)

    def add(self, event: Event) -> None:
        """Count one more."""
        self.last, self.count = event, self.count + 1
        self.keys.update(event.get("keys", [event["key"]] if "key" in event else []))


def sentences(events: Sequence[Event], status_of: Callable[[str], str], now: datetime) -> list[str]:
    """What happened, in order of the first time; `status_of` says what became of a stage."""
    groups: dict[tuple[Any, ...], Group] = {}
    for event in without_repeats(events):
        identity = (event["kind"], *(event.get(name) for name in TELLS_APART.get(event["kind"], ())))
        groups.setdefault(identity, Group(event, event)).add(event)
    return [sentence(group, status_of, now) for group in groups.values()]


# What tells events of a kind apart; all others of a kind are one group.
TELLS_APART: dict[str, tuple[str, ...]] = {
    "node_lost": ("node",),
    "node_added": ("node",),
    "node_draining": ("node",),
    "worker_died": ("name",),
    "handed_back": ("name",),
    "hung": ("host",),
    "out_of_memory": ("gpus", "again_gpus"),
    "retried": ("error",),
    "tune_stopped": ("error",),
}


# Facts without which an event of a kind cannot be told.
NEEDS: dict[str, dict[str, Any]] = {
    "node_lost": {"node": str, "keys": list},
    "worker_died": {"key": str},
    "retried": {"key": str, "error": str | None, "again_s": int | float},
    "out_of_memory": {"key": str, "gpus": int | float, "again_gpus": int | float | None},
}


def is_sound(event: Event) -> bool:
    """Whether an event can be told; one that a disk or a hand has changed says nothing."""
    facts, keys = {name: fact for name, fact in event.items() if name != "keys"}, event.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(fact, str | int | float | None) for fact in facts.values()):
        return False
    try:
        has_zone = time_of(event).tzinfo is not None
    except ValueError:
        return False
    needs = NEEDS.get(event["kind"], {})
    is_told = all(isinstance(event.get(name), needed) for name, needed in needs.items())
    return has_zone and is_told and all(isinstance(key, str) for key in (event.get("key", ""), *keys))


def without_repeats(events: Sequence[Event]) -> list[Event]:
    """`events` without the deaths of workers that are told with their node's."""
    lost = [event for event in events if event["kind"] == "node_lost"]
    return [event for event in events if not any(is_part(event, node) for node in lost)]


def is_part(event: Event, node: Event) -> bool:
    """Whether a worker died because its node did."""
    if event["kind"] != "worker_died" or event.get("node") != node["node"] or event["key"] not in node["keys"]:
        return False
    return abs(time_of(event) - time_of(node)) <= WITH_NODE


def sentence(group: Group, status_of: Callable[[str], str], now: datetime) -> str:
    """One group: when, what, how often, and what became of its stages."""
    first, last = clock(group.first, now), clock(group.last, now)
    when = first if first == last else f"{first} to {last}"
    said = what(group.last, group.count)
    outcome = Counter(status_of(key) for key in group.keys)
    became = ", ".join(f"{count} {status}" for status, count in sorted(outcome.items()))
    return f"{when}: {said}" + (f" (now {became})" if became else "")


def what(event: Event, count: int) -> str:
    """What happened so many times, the last of them as `event` says."""
    kind, name = event["kind"], event.get("name") or "a node"
    times = "" if count == 1 else f"{count} times "
    if kind == "node_lost":
        stages = len(event["keys"])
        took = f" with {stages} stage{'s' if stages != 1 else ''}, tried again" if stages else ""
        return f"node {name} {'was taken away' if event.get('drained') else 'was lost'}{took}"
    if kind == "retried":
        return f"{times}tried again after {event.get('error')}"
    if kind == "out_of_memory":
        return f"{times}{out_of_memory(event)}"
    plain = {
        "node_added": f"node {name} joined",
        "node_draining": f"node {name} was about to be taken away",
        "worker_died": f"{times}a worker on {name} died; its stage was tried again",
        "handed_back": f"{times}a worker on {name} had to leave, and handed its stage back",
        "not_begun": f"{times}a worker was leaving, had ended or did not start; another one took its place",
        "hung": f"{times}a worker on {event.get('host')} made no progress for {event.get('seconds')} s, and was killed",
        "answer_lost": f"{times}the answer of a worker that had committed was lost",
        "lease lost": f"{times}a worker came back after its stage was given to another, and wrote nothing",
        "tune_stopped": f"{times}Ray Tune stopped and was started again: {event.get('error')}",
    }
    return plain.get(kind, f"{times}{kind}")


def out_of_memory(event: Event) -> str:
    """How much of a GPU was too little, and what to do."""
    had, again = event.get("gpus"), event.get("again_gpus")
    if again is None:
        return f"out of device memory with {had:g} GPU: take a smaller batch_size or model, or a larger GPU"
    if again == had:
        return f"out of device memory with too many stages on {had:g} GPU, again with fewer: see --pack-size"
    return f"out of device memory with {had:g} GPU, again with {again:g}: --gpus-per-stage {again:g} spares this"


def time_of(event: Event) -> datetime:
    """When it happened, in UTC."""
    return datetime.fromisoformat(event["time"])


def clock(event: Event, now: datetime) -> str:
    """When it happened, by this machine's clock: the hour, with the day if that is another one."""
    return at(time_of(event), now)


def at(moment: datetime, now: datetime) -> str:
    """A moment as a person near this machine says it."""
    local, here = moment.astimezone(), now.astimezone()
    return f"{local:%H:%M}" if local.date() == here.date() else f"{local:%Y-%m-%d %H:%M}"
