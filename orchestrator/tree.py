"""Tree: the stage tree of a plan in a few lines, equal branches folded into one; it plans nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.plan import Plan

MOST_LINES = 60
FEW = 6  # values of a setting that are named one by one
APART = ("init", "regularizer", "selection", "augmentation", "after_step")  # stages of other kinds are other lines
KINDS = (*APART, "data", "model", "optimizer")
NUMBERS = ("round", "examples", "lr", "batch_size", "weight_decay", "stop", "seed")


@dataclass
class Node:
    """One stage of the tree.

    Attributes:
        columns: What its config says of itself.
        kinds: Of the settings that tell lines apart, those of APART.
        must_run: Whether a launch would train it.
        shape: Equal for stages whose branches are equal, whatever their numbers.
    """

    columns: Mapping[str, Any]
    kinds: tuple[str, ...]
    must_run: bool
    children: list[Node] = field(default_factory=list)
    shape: int = 0


@dataclass
class Line:
    """Stages that are folded into one line.

    Attributes:
        nodes: All of them, in the whole sweep.
        each: How many of them, or of their chains, start from each stage of the line above.
        links: So many follow each other in a chain, each the only child of the one before, of the same kinds.
        ends: The last one of each chain, from which the next lines start.
    """

    nodes: list[Node]
    each: int
    links: int
    ends: list[Node]


def tree_lines(planned: Plan, most: int = MOST_LINES) -> list[str]:
    """The stage tree: each line so many stages that are alike, indented below those that they start from.

    Args:
        most: Lines at most; a last one says how many more there would be.
    """
    found = roots(planned)
    told = [name for name in (*KINDS, *NUMBERS) if len(values_of(name, every(found))) > 1]
    lines = list(drawn(found, told))
    if len(lines) <= most:
        return lines
    return [*lines[:most], f"... and {len(lines) - most} more lines. Fewer: --axis, --seeds, --small"]


def roots(planned: Plan) -> list[Node]:
    """The stages without a parent, each with all that starts from it."""
    columns = {stage.key: stage.config.stage_columns() for stage in planned.stages}
    waiting = {stage.key for stage in planned.to_run}
    nodes = {key: Node(own, tuple(kind(name, own) for name in APART), key in waiting) for key, own in columns.items()}
    for stage in planned.stages:
        if stage.parent is not None:
            nodes[stage.parent.key].children.append(nodes[stage.key])
    shapes: dict[tuple[Any, ...], int] = {}
    for stage in reversed(planned.stages):  # children first
        node = nodes[stage.key]
        node.shape = shapes.setdefault((node.kinds, *sorted(child.shape for child in node.children)), len(shapes))
    return [nodes[stage.key] for stage in planned.stages if stage.parent is None]


def kind(name: str, columns: Mapping[str, Any]) -> str:
    """Kind of a setting, such as ``warm_start`` of ``init``; its text where there is no kind."""
    return str(columns.get(name, columns.get(f"{name}_text")))


def every(nodes: Sequence[Node]) -> list[Node]:
    """All stages of a tree."""
    found, level = [], list(nodes)
    while level:
        found += level
        level = [child for node in level for child in node.children]
    return found


def drawn(found: Sequence[Node], told: Sequence[str]) -> Iterator[str]:
    """The lines of the stages without a parent, and of all that starts from them; with the settings `told`."""
    waiting = [(line, 0) for line in folded(found, 1)][::-1]
    while waiting:
        line, depth = waiting.pop()
        yield f"{'   ' * (depth - 1)}{'-> ' if depth else ''}{text_of(line, told)}"
        below = folded([child for end in line.ends for child in end.children], len(line.ends))
        waiting += [(one, depth + 1) for one in below][::-1]


def folded(nodes: Sequence[Node], above: int) -> Iterator[Line]:
    """`nodes` with equal branches as one line each, chains followed to their ends."""
    alike: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        alike[node.shape].append(node)
    for group in alike.values():
        links, ends = [group], group
        while is_link(ends[0]):
            ends = [end.children[0] for end in ends]
            links.append(ends)
        yield Line([node for link in links for node in link], len(group) // above, len(links), ends)


def is_link(node: Node) -> bool:
    """Whether a chain goes on behind a stage, and with it behind all of its shape."""
    return len(node.children) == 1 and node.children[0].kinds == node.kinds


def text_of(line: Line, told: Sequence[str]) -> str:
    """One line: how many, what they have in common, the values of what they have not, and what is done."""
    parts = [part for name in told if (part := setting_text(name, values_of(name, line.nodes)))]
    chain = f" chain of {line.links}:" if line.links > 1 else ""
    in_all = f" ({len(line.nodes):,} in all)" if line.each < len(line.nodes) else ""
    return f"{line.each:,} x{chain} {'; '.join(parts) or 'stage'}{in_all} [{progress_text(line.nodes)}]"


def values_of(name: str, nodes: Sequence[Node]) -> list[Any]:
    """The different values of one setting, sorted if they are numbers; of one of KINDS its texts."""
    column = f"{name}_text" if name in KINDS else name
    found = dict.fromkeys(value for node in nodes if (value := node.columns.get(column)) is not None)
    is_number = all(isinstance(value, int | float) for value in found)
    return sorted(found) if is_number else list(found)


def setting_text(name: str, values: Sequence[Any]) -> str:
    """What stages have for one setting; "" if nothing."""
    if not values:
        return ""
    if name in APART and len(values) > 2:
        return f"{name}: {len(values):,} settings, {values[0]} to {values[-1]}"
    if len(values) > 2 and all(isinstance(value, int) for value in values) and values[-1] - values[0] < len(values):
        return f"{name}={values[0]}-{values[-1]}"
    if len(values) <= FEW:
        return f"{name}={','.join(map(shown, values))}"
    return f"{name}: {len(values):,} values, {shown(values[0])} to {shown(values[-1])}"


def shown(value: Any) -> str:
    """One value of a setting."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def progress_text(nodes: Sequence[Node]) -> str:
    """How many stages are done, and how many a launch would run."""
    to_run = sum(node.must_run for node in nodes)
    done = len(nodes) - to_run
    return ", ".join(part for count, part in ((done, f"{done:,} done"), (to_run, f"{to_run:,} to run")) if count)
