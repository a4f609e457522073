"""Axis values and seeds as text, as the command line takes them; read, never evaluated as code.

    lr=0.01,0.03
    init=RandomInit,ShrinkPerturb(shrink=0.4, perturb=0.1)

A value is a number, a string (a bare lower-case word is one), True, False, None, a tuple of values, or
the call of a known setting; known are the settings whose module was imported. Python's own parser
reads the text into a syntax tree, and the few kinds of node named here are turned into values one by
one. Everything else is refused: there is no name to look up and nothing that could run.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.key import canonical_text
from orchestrator.spec import Spec

MOST_CHARACTERS = 10_000  # of one axis; also keeps Python's parser far from the end of its stack
MOST_BRACKETS = 20  # open at once; a setting in a setting in a tuple needs three
MOST_SEEDS = 100_000
MOST_FAULTS = 20  # told at once
SHOWN = 60  # characters of a text that an error repeats
RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")  # 18 digits fit in a column of 64 bits
MISWRITTEN = {"true": "True", "false": "False", "none": "None", "null": "None"}
QUOTE = "Quote paths and other text: path='data/images.npz'."
NOTHING = f"is neither a number, a string, a tuple nor a setting. {QUOTE}"


def parse_axes(items: Sequence[str]) -> dict[str, list[Any]]:
    """Values of each axis from texts ``name=value,value``, in the order given.

    Raises:
        ConfigError: names every text without a name or ``=``, every axis given twice, every wrong value.
    """
    axes: dict[str, list[Any]] = {}
    faults: list[str] = []
    for item in items:
        name, equals, text = item.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            faults.append(f"Axis {shorten(item)}: write it as name=value,value.")
            continue
        if name in axes:
            faults.append(f"Axis {name} is given twice: name all its values at once, {name}=value,value.")
        try:
            axes[name] = parse_values(name, text)
        except ConfigError as error:
            axes[name] = []
            faults.append(str(error))
    raise_all(faults)
    return axes


def parse_values(name: str, text: str) -> list[Any]:
    """Values of the axis `name` from text such as ``0.01,0.03`` or ``Digits,CIFAR10(limit=5000)``.

    Commas inside parentheses, brackets and quotes part no values. A known setting's bare name is its
    call without arguments. Lists are read as tuples. Whole numbers must fit in 64 bits.

    Raises:
        ConfigError: the text cannot be read, names no value, or names one twice; tells every wrong value.
    """
    if not text.strip():
        raise ConfigError(f"Axis {name} has no value: write {name}=value,value.")
    reader = Reader(f"[{text}]")
    try:
        values = [reader.value(node) for node in syntax(text)]
    except SyntaxError as error:
        raise ConfigError(f"Axis {name}: {explain(text, error)} {QUOTE}") from None
    raise_all([f"Axis {name}: {fault}" for fault in reader.faults])
    raise_all([f"Axis {name}: {value!r} is given twice." for value in repeated(values)])
    return values


def syntax(text: str) -> list[ast.expr]:
    """Syntax trees of the values in `text`, parted by its outer commas.

    Raises:
        SyntaxError: `text` is not a list of expressions; its offset counts in `text`, from 1.
    """
    if len(text) > MOST_CHARACTERS:
        raise SyntaxError(f"it is longer than {MOST_CHARACTERS:,} characters")
    if most_open(text) > MOST_BRACKETS:
        raise SyntaxError(f"more than {MOST_BRACKETS} brackets are open at once")
    source = f"[{text}]"
    try:
        tree = parse(source)
    except SyntaxError:
        parse(text.strip())  # its error counts in `text` and knows no bracket of ours
        raise SyntaxError("a # outside quotes would start a comment") from None
    if not isinstance(tree, ast.List) or ast.get_source_segment(source, tree) != source:
        raise SyntaxError("a bracket is closed that was not opened")
    return tree.elts


def parse(source: str) -> ast.expr:
    """Python's syntax tree of one expression; every way of failing is a SyntaxError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as "\d", which Python reads but means to refuse one day
            return ast.parse(source, mode="eval").body
    except (MemoryError, RecursionError):
        raise SyntaxError("it is nested too deep") from None
    except ValueError as error:  # a null character, or half of a surrogate pair
        raise SyntaxError(str(error)) from None


def most_open(text: str) -> int:
    """How many brackets are open at once in `text`, those in quotes counted too."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


class Reader:
    """Turns syntax trees into values, and goes on after a fault, so that all are told at once.

    Attributes:
        faults: One sentence for each part of the source that means nothing.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.faults: list[str] = []

    def value(self, node: ast.expr) -> Any:
        """What `node` stands for, or None after a fault was noted; at once None after more than can be told."""
        if len(self.faults) > MOST_FAULTS:
            return None
        if type(node) not in READ:
            return self._fault(node, NOTHING)
        return READ[type(node)](self, node)

    def _fault(self, node: ast.expr, fault: str) -> None:
        self.faults.append(f"{shorten(ast.get_source_segment(self.source, node) or '')} {fault}")

    def _literal(self, node: ast.Constant) -> Any:
        return self._checked(node, node.value)

    def _signed(self, node: ast.UnaryOp) -> Any:
        """A number after one sign."""
        number: Any = node.operand.value if isinstance(node.operand, ast.Constant) else None
        if type(number) not in (int, float) or not isinstance(node.op, ast.USub | ast.UAdd):
            return self._fault(node, NOTHING)
        return self._checked(node, -number if isinstance(node.op, ast.USub) else number)

    def _checked(self, node: ast.expr, value: Any) -> Any:
        """`value` of a literal, if a config may hold it."""
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return self._fault(node, "does not fit in 64 bits: write it as a float, such as 1e20.")
        if isinstance(value, float) and not math.isfinite(value):
            return self._fault(node, "is too large for a float.")
        if value is None or isinstance(value, (int, float, str)):
            return value
        return self._fault(node, f"is of type {type(value).__name__}, which no setting takes.")

    def _tuple(self, node: ast.Tuple | ast.List) -> Any:
        return tuple(self.value(element) for element in node.elts)

    def _word(self, node: ast.Name) -> Any:
        """A known setting's bare name, or a lower-case word, which is a string."""
        word = node.id
        if word in Spec.members:
            return self._make(node, Spec.members[word], [], {})
        if word in MISWRITTEN:
            return self._fault(node, f"would be a string: write {MISWRITTEN[word]}, or {word!r} in quotes.")
        if word in ("nan", "inf", "infinity"):
            return self._fault(node, "is not a finite number.")
        like = [name for name in Spec.members if name.lower() == word.lower()]
        if like:
            return self._fault(node, f"is not spelt as the setting: write {like[0]}, or {word!r} in quotes.")
        if word.isascii() and word.islower():
            return word
        return self._fault(node, unknown_setting(word))

    def _call(self, node: ast.Call) -> Any:
        """The setting that the call makes."""
        if not isinstance(node.func, ast.Name) or node.func.id not in Spec.members:
            name = ast.get_source_segment(self.source, node.func) or ""
            return self._fault(node, unknown_setting(name))
        names = [keyword.arg for keyword in node.keywords]
        if None in names or any(isinstance(argument, ast.Starred) for argument in node.args):
            return self._fault(node, "uses stars: name each setting.")
        if any(str(name).startswith("__") for name in names):
            return self._fault(node, "names a setting with two underscores, which none has.")
        if len(set(names)) < len(names):
            return self._fault(node, "names one setting twice.")
        before = len(self.faults)
        args = [self.value(argument) for argument in node.args]
        kwargs = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        return self._make(node, Spec.members[node.func.id], args, kwargs) if len(self.faults) == before else None

    def _make(self, node: ast.expr, cls: type[Spec], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call `cls`, which checks its values itself."""
        try:
            return cls(*args, **kwargs)
        except ConfigError as error:
            return self._fault(node, f"is refused. {error}")


READ: dict[type[ast.expr], Callable[[Reader, Any], Any]] = {  # every kind of node that means something
    ast.Constant: Reader._literal,
    ast.UnaryOp: Reader._signed,
    ast.Tuple: Reader._tuple,
    ast.List: Reader._tuple,
    ast.Name: Reader._word,
    ast.Call: Reader._call,
}


def unknown_setting(name: str) -> str:
    """End of a sentence about `name`: the known settings nearest to it, else all of them."""
    known = sorted(Spec.members)
    lower = {member.lower(): member for member in known}
    near = [lower[match] for match in difflib.get_close_matches(name.lower()[:SHOWN], lower, n=3, cutoff=0.6)]
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"is no known setting. {hint}Known: {', '.join(known) or 'none'}. {QUOTE}"


def explain(text: str, error: SyntaxError) -> str:
    """Where and why `text` cannot be read, in one line; a caret stands before the place."""
    why = error.msg.split(";")[0].removesuffix(".")  # after a semicolon, Python says how to configure Python
    if not error.offset or error.lineno != 1:
        return f"cannot read {shorten(text)}: {why}."
    at = len(text) - len(text.lstrip()) + error.offset - 1
    start, end = max(0, at - SHOWN // 2), at + SHOWN // 2
    return f"cannot read it at the caret, {shorten(text[start:at] + '^' + text[at:end])}: {why}."


def shorten(text: str) -> str:
    """`text` in one printable line of at most SHOWN characters and its quotes."""
    return repr(text if len(text) <= SHOWN + 1 else f"{text[: SHOWN - 3]}...")


def repeated(values: Sequence[Any]) -> list[Any]:
    """Values that mean the same as one before them, each once; 1 and 1.0 do, 1 and True do not."""
    first = {canonical_text(value): i for i, value in reversed(list(enumerate(values)))}
    again = {canonical_text(value): value for i, value in enumerate(values) if first[canonical_text(value)] < i}
    return list(again.values())


def parse_seeds(text: str) -> list[int]:
    """Seeds from text such as ``0-2``, ``0,3,5``, ``7`` or ``0-2,7``, in the order given.

    Raises:
        ConfigError: names every part that is no seed or ascending range, and every seed given twice.
    """
    ranges = [seed_range(part) for part in text.split(",")]
    faults = [part for part in ranges if isinstance(part, str)]
    good = [part for part in ranges if isinstance(part, range)]
    if sum(map(len, good)) > MOST_SEEDS:
        raise ConfigError(f"Seeds: {shorten(text)} is more than {MOST_SEEDS:,} seeds; give fewer at a time.")
    count = Counter(seed for part in good for seed in part)
    twice = [str(seed) for seed in count if count[seed] > 1]
    if twice:
        faults.append(f"Seeds: {', '.join(twice[:MOST_FAULTS])}{' and more' * (len(twice) > MOST_FAULTS)} given twice.")
    raise_all(faults)
    return list(count)


def seed_range(part: str) -> range | str:
    """The seeds of ``7`` or ``0-2``, or a sentence that says why `part` has none."""
    match = RANGE.fullmatch(part.strip())
    if match and int(match[1]) <= int(match[2] or match[1]):
        return range(int(match[1]), int(match[2] or match[1]) + 1)
    return f"Seeds: {shorten(part)} is no whole number from 0 and no ascending range such as 0-2."


def raise_all(faults: Sequence[str]) -> None:
    """Raise one ConfigError of `faults`, a line each, if there are any."""
    if faults:
        more = ["And more."] if len(faults) > MOST_FAULTS else []
        raise ConfigError("\n".join([*faults[:MOST_FAULTS], *more]))
