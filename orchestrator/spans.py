"""Spans: which bytes of a file to ask for, so that parts that lie close together come in one answer. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GAP = 64 * 1024  # bytes between two parts that come with them; to ask again takes longer


def together(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Begin and end of the spans that hold all `parts`, where gaps up to `GAP` bytes are part of a span."""
    spans: list[tuple[int, int]] = []
    for begin, length in sorted(parts):
        if spans and begin <= spans[-1][1] + GAP:
            spans[-1] = (spans[-1][0], max(spans[-1][1], begin + length))
        else:
            spans.append((begin, begin + length))
    return spans


def cut(spans: Mapping[tuple[int, int], bytes], begin: int, length: int) -> bytes:
    """So many bytes from `begin` on, which one of `spans` holds as far as the file has them."""
    end = begin + length
    start, data = next((start, data) for (start, stop), data in spans.items() if start <= begin and end <= stop)
    return data[begin - start : end - start]
