"""Text from the command line becomes the value it names, or an error that says why not; it never runs."""

from __future__ import annotations

import ast
import builtins
import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import catalogue
from orchestrator.errors import ConfigError
from orchestrator.expressions import MOST_FAULTS, MOST_SEEDS, Reader, parse_axes, parse_seeds, parse_values, syntax
from orchestrator.spec import Spec
from tests.orchestrator.made import Coffee, Order, Tea, settings

PIECES = [
    *"()[]{},='\"\\#-.*_: \n\0\ud8001",
    *("Coffee", "Tea", "Order", "grams", "leaf", "None", "1e999", "0x", "lambda", "for", "if", "f'", "relu", "é"),
]
CODE = """\
__import__('os').system('x')
open('x')
builtins.open
Spec
Coffee.__init__
Coffee(7).grams
Coffee(open('x'))
Tea(leaf=f'{open}')
x.y
[1][0]
1+1
2**9
'a'*9
not 1
~1
1<2
1 if 1 else 2
lambda: 1
[x for x in y]
(x:=1)
await x
*x
{1}
{1: 2}
f'{1}'
b'a'
..."""
texts = st.text(st.characters() | st.sampled_from("()[],='\"#\\-.")) | st.lists(st.sampled_from(PIECES)).map("".join)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.01,0.03", [0.01, 0.03]),
        ("1,-2,+3,-0.5,1e-3,1_000", [1, -2, 3, -0.5, 0.001, 1000]),
        ("True,False,None", [True, False, None]),
        ("relu,leaky_relu", ["relu", "leaky_relu"]),
        ("'a,b','(',\"it's\"", ["a,b", "(", "it's"]),
        ("(1,2),[3,(4,)],()", [(1, 2), (3, (4,)), ()]),
        ("(1,2)", [(1, 2)]),
        ("(1),2", [1, 2]),
        (" 1 , 2 , ", [1, 2]),
        ("Tea", [Tea()]),
        ("Tea(),Coffee(7)", [Tea(), Coffee(7)]),
        ("Coffee(grams=7, cups=2)", [Coffee(grams=7, cups=2)]),
        ("Tea(leaf=black,steeps_min=(1.0,2.0))", [Tea("black", (1.0, 2.0))]),
        ("Order(brew=Tea,others=[Coffee(7)])", [Order(Tea(), (Coffee(7),))]),
    ],
)
def test_a_text_is_the_values_it_names(text: str, values: list[Any]) -> None:
    """A value read as another one trains another experiment."""
    parsed = parse_values("x", text)

    assert parsed == values
    assert [type(value) for value in parsed] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Axis x has no value: write x=value,value."),
        ("  ", "Axis x has no value"),
        ("Cofee(7)", "'Cofee(7)' is no known setting. Did you mean Coffee? Known: "),
        ("coffee", "'coffee' is not spelt as the setting: write Coffee, or 'coffee' in quotes."),
        ("Zzz", "'Zzz' is no known setting. Known: "),
        ("Coffee(grams=101)", "'Coffee(grams=101)' is refused. Coffee: grams=101: input should be less than"),
        ("Coffee", "'Coffee' is refused. Coffee: grams is missing."),
        ("Coffee(7,grams=8)", "is refused. Coffee: grams=8: "),
        ("Coffee(grams=7,grams=8)", "names one setting twice"),
        ("Coffee(self=1)", "it has no setting 'self'"),
        ("Coffee(__dataclass_self__=1)", "names a setting with two underscores"),
        ("Coffee(*(1,2))", "uses stars"),
        ("Coffee(**{'grams': 1})", "uses stars"),
        ("true", "would be a string: write True, or 'true' in quotes"),
        ("nan", "is not a finite number"),
        ("1e999", "is too large for a float"),
        ("-True", "'-True' is neither a number"),
        ("--1", "'--1' is neither a number"),
        ("-inf", "'-inf' is neither a number"),
        ("1j", "is of type complex"),
        ("9223372036854775808", "does not fit in 64 bits"),
        ("data/x.npz", "'data/x.npz' is neither a number, a string, a tuple nor a setting. Quote paths"),
        ("0.01,0.0.3", "at the caret, '0.01,0.0^.3': invalid syntax. Quote paths"),
        (" Coffee(7", "at the caret, ' Coffee^(7': '(' was never closed"),
        ("1],[2", "a bracket is closed that was not opened"),
        ("1]#[", "a bracket is closed that was not opened"),
        ("(" * 21 + "1" + ")" * 21, "more than 20 brackets are open at once"),
        ("1 # one", "a # outside quotes would start a comment"),
        (r"'C:\data'", r"invalid escape sequence '\d'"),
        ("1,1.0", "1.0 is given twice"),
        ("Tea,Coffee(7),Tea()", "Tea() is given twice"),
    ],
)
def test_a_text_that_means_nothing_is_refused_with_its_place(text: str, fault: str) -> None:
    """A wrong axis must end the launch, before a worker has started, in words that lead to the right one."""
    with pytest.raises(ConfigError) as caught:
        parse_values("x", text)

    assert "Axis x" in str(caught.value)
    assert fault in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", CODE.split("\n"))
def test_code_is_refused(text: str) -> None:
    """A sweep's axes are pasted from chats and notebooks; they must not be able to do anything."""
    with pytest.raises(ConfigError):
        parse_values("x", text)


@pytest.mark.parametrize("frame", ["{}", "Coffee({})", "[{}]", "Tea(leaf={})", "{}(7)", "f'{{{}}}'", "(lambda: {})()"])
def test_no_code_runs(frame: str) -> None:
    """The canary: text that would leave a file behind, or change Python itself, if it were evaluated."""
    canary = Path("warmgrid-canary")
    text = frame.format(f"[open({str(canary)!r}, 'w'), setattr(__import__('builtins'), 'canary', 1)]")

    with pytest.raises(ConfigError):
        parse_values("x", text)

    assert not canary.exists()
    assert not hasattr(builtins, "canary")


def test_nothing_here_can_evaluate() -> None:
    """The same, said of the source: no function that runs text is named in the module."""
    tree = ast.parse(Path(parse_values.__code__.co_filename).read_text())

    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}

    assert not names & {"eval", "exec", "compile", "__import__", "getattr", "globals", "literal_eval"}


@given(texts)
def test_any_text_has_a_value_or_a_clear_error(text: str) -> None:
    """A traceback out of Python's parser helps nobody to mend an axis."""
    with contextlib.suppress(ConfigError):
        parse_values("x", text)
    with contextlib.suppress(ConfigError):
        parse_axes([text])
    with contextlib.suppress(ConfigError):
        parse_seeds(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "(" * 9999,
            "f(" * 300,
            "{1:" * 300,
            "-" * 9999 + "1",
            "a." * 4000 + "a",
            "lambda:" * 1400 + "1",
            "1 if " * 2000,
        ),
        *("9" * 9999, "0x" + "f" * 9000, "x" * 99999, "'" * 9999, "1," * 4999, "A," * 4999, "Tea(" * 19 + "A," * 2000),
    ],
    ids=lambda text: f"{text[:6]}...{len(text)}",
)
def test_a_huge_text_is_refused_at_once(text: str) -> None:
    """Depth that exhausts Python's stack would take the driver down, and its message the terminal."""
    with pytest.raises(ConfigError) as caught:
        parse_values("x", text)

    assert len(str(caught.value)) < 25_000


def test_reading_ends_after_more_faults_than_are_told() -> None:
    """A pasted table of words would otherwise be looked up word by word for a minute."""
    text = "Word," * 1000
    reader = Reader(f"[{text}]")

    for node in syntax(text):
        reader.value(node)

    assert len(reader.faults) == MOST_FAULTS + 1


@given(settings)
def test_the_text_of_a_setting_is_the_setting(made: Spec) -> None:
    """Tables and errors show a setting's text; pasted back into --axis it must be the same one."""
    assert parse_values("x", f"{made},None") == [made, None]


@pytest.mark.parametrize("name", catalogue.names())
def test_the_text_of_every_value_of_our_sweeps_is_the_value(name: str) -> None:
    """The same for the settings that exist: what `plan` prints can be given to --axis."""
    for axis, values in catalogue.find(name).sweep.axes.items():
        assert parse_values(axis, ",".join(map(repr, values))) == list(values)


def test_all_faults_of_all_axes_are_told_at_once() -> None:
    """Faults told one at a time cost one launch each."""
    with pytest.raises(ConfigError) as caught:
        parse_axes(["lr", "lr=1", "lr=2", "=3", "brew=Cofee,1+1", "cups=", "a b=1"])

    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "Axis 'lr'",
        "Axis lr is given twice",
        "Axis '=3'",
        "Axis brew",
        "Axis brew",
        "Axis cups has no value",
        "Axis 'a b=1'",
    ]


def test_axes_keep_their_order_and_what_follows_the_first_equals_sign() -> None:
    """The order of axes is the order of columns; a call holds equals signs of its own."""
    axes = parse_axes(["lr=0.1,1", "brew=Tea(leaf='a=b')", " cups =1"])

    assert list(axes.items()) == [("lr", [0.1, 1]), ("brew", [Tea("a=b")]), ("cups", [1])]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", [7]), ("0-2", [0, 1, 2]), ("0,3,5", [0, 3, 5]), ("0-2,7", [0, 1, 2, 7]), (" 5 , 1-1", [5, 1])],
)
def test_seeds_are_numbers_and_ranges_with_both_ends(text: str, seeds: list[int]) -> None:
    """A range one short is a sweep with one seed too few."""
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Seeds: '' is no whole number from 0"),
        ("-1", "Seeds: '-1' is no whole number from 0"),
        ("3-1", "Seeds: '3-1' is no whole number from 0 and no ascending range"),
        ("1.5,x,2", "Seeds: '1.5' is no whole number from 0 and no ascending range such as 0-2.\nSeeds: 'x' is"),
        ("\u0663", "is no whole number"),
        ("0-2,1,2", "Seeds: 1, 2 given twice."),
        (f"0-{MOST_SEEDS}", "is more than 100,000 seeds"),
        ("0-999999999999999999", "is more than 100,000 seeds"),
    ],
)
def test_seeds_that_mean_nothing_are_refused(text: str, fault: str) -> None:
    """A seed given twice would count one trial as two, and narrow every interval."""
    with pytest.raises(ConfigError) as caught:
        parse_seeds(text)

    assert fault in str(caught.value)


def test_as_many_seeds_as_allowed_are_read() -> None:
    """The cap is for slips; it must not stop a large sweep."""
    assert len(parse_seeds(f"1-{MOST_SEEDS}")) == MOST_SEEDS
