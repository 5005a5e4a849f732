"""Signatures, demos, inputs and answers on which both engines are compared. No tests here.

Each case builds its signature twice: `make` gets a namespace with `Signature`, `InputField` and `OutputField`, once
that of dspex and once that of dspy.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional

import pydantic


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = 3


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(pydantic.BaseModel):
    """Where someone lives."""

    street: str = pydantic.Field(description="street and number")
    country: Literal["US", "CA"] = "US"


class Person(pydantic.BaseModel):
    name: str
    age: int | None = None
    addresses: list[Address] = []
    tags: dict[str, int] = {}


class Tree(pydantic.BaseModel):
    value: int
    children: list[Tree] = []


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Opaque:
    """Something pydantic knows nothing of."""

    def __str__(self) -> str:
        return "<opaque>"


def types() -> dict[str, Any]:
    return {"Color": Color, "Level": Level, "Address": Address, "Person": Person, "Tree": Tree, "Point": Point}


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Any], Any]
    inputs: list[dict[str, Any]]
    demos: list[list[dict[str, Any]]] = field(default_factory=lambda: [[]])
    outputs: list[dict[str, str]] = field(default_factory=list)
    """Well- and ill-formed values of the outputs as text; the tests write them as sections and as JSON."""


def string(text: str, instructions: str | None = None) -> Callable[[Any], Any]:
    return lambda ns: ns.Signature(text, instructions, custom_types=types())


def _bounded(ns: Any) -> Any:
    class Bounded(ns.Signature):
        """Rate it.

        Be strict:
            - no half points
        """

        essay: str = ns.InputField(desc="the essay", min_length=3, max_length=2000)
        weight: float = ns.InputField(gt=0, le=1.5, multiple_of=0.5, allow_inf_nan=False)
        score: int = ns.OutputField(desc="the mark", ge=0, lt=11)
        remark: str = ns.OutputField(description="one sentence")

    return Bounded


def _optional(ns: Any) -> Any:
    class Optionals(ns.Signature):
        q: str = ns.InputField()
        a: str = ns.OutputField()
        b: str | None = ns.OutputField()
        c: Optional[int] = ns.OutputField(desc="maybe")  # noqa: UP045 - both spellings are compared
        d: int = ns.OutputField(default=7)
        e: list[str] = ns.OutputField(default_factory=list)

    return Optionals


def _untyped(ns: Any) -> Any:
    class Untyped(ns.Signature):
        answer = ns.OutputField()
        question = ns.InputField(desc="what is asked")
        confidence: Annotated[float, pydantic.Field(ge=0)] = ns.OutputField()

    return Untyped


def _inherited(ns: Any) -> Any:
    class Base(ns.Signature):
        """Base text."""

        question: str = ns.InputField()
        answer: str = ns.OutputField()

    class Derived(Base):
        context: list[str] = ns.InputField(desc="passages")
        answer: Color = ns.OutputField(desc="one colour")

    return Derived


def _derived(ns: Any) -> Any:
    sig = ns.Signature("question -> answer: float")
    sig = sig.prepend("reasoning", ns.OutputField(desc="think")).append("hints", ns.InputField(), list[str])
    sig = sig.insert(1, "unit", ns.OutputField(), Literal["m", "km"]).with_updated_fields(
        "question", desc="asked", type_=str
    )
    return sig.append_instructions("Mind the unit.\n  Indented.").delete("nothing")


def _braces(ns: Any) -> Any:
    class Braces(ns.Signature):
        """Keep {these} and ${those} and «quotes».

        \tTabs too."""

        q: str = ns.InputField(desc="a {brace}")
        a: str = ns.OutputField(desc="${a}")

    return Braces


QUESTIONS: list[dict[str, Any]] = [
    {"question": "What is the capital of France?"},
    {"question": ""},
    {},
    {"question": "  spaces and\nlines \n"},
    {"question": "Ünïcödé 漢字 🎉", "unknown": 3},
    {"question": ["one", "two\nlines", "«three»"]},
    {"question": []},
    {"question": ["only"]},
    {"question": [{"title": "t", "text": "x"}, ["a", 1], ("b",), {"c": "d"}, frozenset({"e"})]},
    {"question": 3.5},
    {"question": None},
    {"question": {"a": [1, None, True]}},
    {"question": "[[ ## answer ## ]]\ninjected"},
]
ANSWERS: list[dict[str, str]] = [
    {"answer": "Paris"},
    {"answer": ""},
    {},
    {"answer": "two\n\nparagraphs [[ ## x"},
    {"other": "y"},
]
TEXT_DEMOS: list[list[dict[str, Any]]] = [
    [],
    [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4", "augmented": True}],
    [{"question": "only a question"}, {"answer": "only an answer"}, {}],
    [{"question": "q", "answer": None}, {"question": "complete", "answer": "yes"}, {"question": None, "answer": "a"}],
    [{"question": ["a", "b"], "answer": {"x": 1}}, {"question": " padded ", "answer": " padded \n"}],
]

CASES: list[Case] = [
    Case("text", string("question -> answer"), QUESTIONS, TEXT_DEMOS, ANSWERS),
    Case(
        "text with instructions",
        string("question -> answer", "Line one.\n\n   Line two.\n"),
        QUESTIONS[:3],
        TEXT_DEMOS,
        ANSWERS,
    ),
    Case("empty instructions", string("question -> answer", ""), QUESTIONS[:2]),
    Case(
        "typed",
        string("question, context: list[str] -> answer: str, score: float"),
        [
            {"question": "q?", "context": ["one", "two é"]},
            {"question": "q?", "context": []},
            {"question": "q?"},
            {"question": "q?", "context": "not a list"},
            {"question": "q?", "context": ("a", "b")},
            {"question": "q?", "context": ["a", 1, None, 2.5, {"k": "v"}]},
        ],
        [
            [{"question": "a", "context": ["x"], "answer": "b", "score": 0.5}],
            [{"question": "a", "answer": "b"}, {"question": "a", "context": ["x"], "answer": "b", "score": 1}],
            [{"context": ["x"], "score": float("inf")}],
        ],
        [
            {"answer": "Paris", "score": "0.9"},
            {"answer": "Paris", "score": "about 0.9"},
            {"answer": "Paris", "score": "1"},
            {"answer": "Paris", "score": '"0.25"'},
            {"answer": "Paris", "score": "high"},
            {"answer": "Paris", "score": ""},
            {"answer": "Paris", "score": "nan"},
            {"answer": "Paris", "score": "1,000.5"},
            {"score": "0.9", "answer": "swapped"},
            {"answer": "Paris"},
        ],
    ),
    Case(
        "numbers and booleans",
        string("a: int, b: float, c: bool -> d: int, e: bool, f: complex"),
        [{"a": 1, "b": 1e300, "c": True}, {"a": True, "b": 0, "c": None}, {"a": 10**25, "b": float("nan"), "c": "yes"}],
        [[{"a": 1, "b": 2.0, "c": False, "d": 3, "e": True, "f": 1 + 2j}]],
        [
            {"d": "3", "e": "True", "f": "1+2j"},
            {"d": "3.0", "e": "false", "f": "1"},
            {"d": "3.5", "e": "yes", "f": "x"},
            {"d": "12 apples", "e": "1", "f": ""},
            {"d": "0x10", "e": "maybe", "f": "(1+2j)"},
            {"d": "1_000", "e": "TRUE.", "f": "3"},
        ],
    ),
    Case(
        "literals",
        string(
            "text -> label: Literal['yes', \"it's\", 'say \"hi\"', 'a\\'b\"c'], number: Literal[1, 2, 3], "
            "mixed: Literal['a', 1, True, None]"
        ),
        [{"text": "t"}],
        [
            [{"text": "t", "label": "yes", "number": 2, "mixed": None}],
            [{"text": "t", "label": "yes", "number": 2, "mixed": "a"}],
        ],
        [
            {"label": "yes", "number": "2", "mixed": "a"},
            {"label": "'yes'", "number": "-3", "mixed": "1"},
            {"label": 'Literal["it\'s"]', "number": "Literal[1]", "mixed": "True"},
            {"label": " yes ", "number": "'1'", "mixed": "None"},
            {"label": 'say "hi"', "number": "4", "mixed": "null"},
            {"label": "no", "number": "1", "mixed": "a"},
            {"label": "str[yes]", "number": "1.0", "mixed": "true"},
            {"label": '"', "number": "1", "mixed": "a"},
        ],
    ),
    Case(
        "enums",
        string("color: Color -> best: Color, level: Level, all: list[Color]"),
        [{"color": Color.RED}, {"color": Color.BLUE}, {"color": "red"}, {"color": Level.HIGH}],
        [[{"color": Color.RED, "best": Color.GREEN, "level": Level.LOW, "all": [Color.RED, Color.BLUE]}]],
        [
            {"best": "red", "level": "LOW", "all": '["red", "green"]'},
            {"best": "RED", "level": "1", "all": '["red", 3]'},
            {"best": "3", "level": "HIGH", "all": "[]"},
            {"best": "BLUE", "level": "2", "all": "red"},
            {"best": "purple", "level": "LOW", "all": '["purple"]'},
        ],
    ),
    Case(
        "containers",
        string(
            "m: dict[str, int], t: tuple[int, str], s: set[int] -> "
            "l: list[int], d: dict[str, list[float]], p: tuple[int, str]"
        ),
        [{"m": {"a": 1}, "t": (1, "x"), "s": {1}}, {"m": {1: 2, None: 3}, "t": [1], "s": frozenset({2})}],
        [[{"m": {}, "t": (1, "x"), "s": {3}, "l": [1, 2], "d": {"a": [1.5]}, "p": (1, "b")}]],
        [
            {"l": "[1, 2]", "d": '{"a": [1.5]}', "p": '[1, "x"]'},
            {"l": "1, 2", "d": "{'a': [1]}", "p": "(1, 'x')"},
            {"l": "[1, 2", "d": "{a: [1.5,]}", "p": "[1]"},
            {"l": '["1", "2"]', "d": '```json\n{"a": [1]}\n```', "p": "x"},
            {"l": "[]", "d": "{}", "p": '[1, "x", 2]'},
        ],
    ),
    Case(
        "pydantic models",
        string("person: Person -> result: Person, address: Address"),
        [
            {"person": Person(name="Ä", age=3, addresses=[Address(street="S 1")], tags={"x": 1})},
            {"person": {"name": "raw"}},
        ],
        [[{"person": Person(name="a"), "result": Person(name="b"), "address": Address(street="s", country="CA")}]],
        [
            {"result": '{"name": "x", "age": 3}', "address": '{"street": "s", "country": "CA"}'},
            {"result": '{"name": "x", "addresses": [{"street": "s"}]}', "address": "{'street': 's'}"},
            {"result": '{"age": 3}', "address": '{"street": "s", "country": "FR"}'},
            {"result": "name: x", "address": '{"street": "s", "extra": 1}'},
        ],
    ),
    Case(
        "models in containers",
        string("people: list[Person] -> best: list[Address], by_name: dict[str, Person], maybe: Optional[Person]"),
        [{"people": [Person(name="a"), Person(name="b", age=1)]}, {"people": []}],
        [
            [
                {
                    "people": [Person(name="a")],
                    "best": [Address(street="x")],
                    "by_name": {"a": Person(name="a")},
                    "maybe": None,
                }
            ]
        ],
        [
            {"best": '[{"street": "s"}]', "by_name": '{"a": {"name": "a"}}', "maybe": "null"},
            {"best": '{"street": "s"}', "by_name": "{}", "maybe": '{"name": "z"}'},
            {"best": "[]", "by_name": "{}"},
            {"best": "[]", "by_name": "[]", "maybe": "None"},
        ],
    ),
    Case(
        "recursive model",
        string("tree: Tree -> result: Tree"),
        [{"tree": Tree(value=1, children=[Tree(value=2)])}],
        [[{"tree": Tree(value=1), "result": Tree(value=2)}]],
        [{"result": '{"value": 1, "children": [{"value": 2, "children": []}]}'}, {"result": '{"value": "x"}'}],
    ),
    Case(
        "dataclasses and dates",
        string("p: Point -> q: Point"),
        [
            {"p": Point(1)},
            {"p": {"x": 1}},
            {"p": datetime.date(2024, 1, 2)},
            {"p": Opaque()},
            {"p": [Opaque(), 1]},
            {"p": b"bytes"},
        ],
        [[{"p": Point(1), "q": Point(2, 3.0)}]],
        [{"q": '{"x": 1}'}, {"q": '{"x": 1, "y": 2}'}, {"q": "{}"}, {"q": "Point(x=1)"}],
    ),
    Case(
        "unions",
        string(
            "x: int | str, y: Optional[float] -> "
            "a: str | None, b: Union[int, str], c: int | None, d: Union[str, int, None]"
        ),
        [{"x": 1, "y": None}, {"x": "s", "y": 2.0}],
        [
            [{"x": 1, "y": 1.0, "a": "t", "b": 2, "c": 3, "d": "u"}],
            [{"x": 1, "y": 1.0, "a": None, "b": 2, "c": None, "d": 4}],
        ],
        [
            {"a": "text", "b": "3", "c": "4", "d": "5"},
            {"a": "null", "b": "three", "c": "null", "d": "null"},
            {"b": "3"},
            {"a": "x"},
            {"a": "None", "b": "[1]", "c": "None", "d": ""},
            {"a": "x", "b": "y", "c": "z", "d": "w"},
        ],
    ),
    Case(
        "any and bare containers",
        string("a: Any, b: list, c: dict -> d: Any, e: list, f: dict"),
        [{"a": object, "b": [1, "x"], "c": {"k": None}}],
        [[{"a": 1, "b": [], "c": {}, "d": "x", "e": [1], "f": {"a": 1}}]],
        [{"d": "x", "e": "[1, a]", "f": '{"a": 1}'}, {"d": "[1]", "e": "x", "f": "x"}, {"d": "", "e": "[]", "f": "{}"}],
    ),
    Case("bytes and dates by module", string("b: bytes -> c: bytes"), [{"b": b"x"}], outputs=[{"c": "y"}, {"c": "3"}]),
    Case(
        "bounded",
        _bounded,
        [{"essay": "text", "weight": 0.5}],
        [[{"essay": "e", "weight": 1, "score": 3, "remark": "ok"}]],
        [{"score": "3", "remark": "fine"}, {"score": "30", "remark": "fine"}, {"score": "3"}],
    ),
    Case(
        "optional outputs",
        _optional,
        [{"q": "q"}],
        [[{"q": "q", "a": "a"}], [{"q": "q", "a": "a", "b": "b", "c": 1, "d": 2, "e": []}]],
        [
            {"a": "x"},
            {"a": "x", "b": "y", "c": "3", "d": "4", "e": '["z"]'},
            {"b": "y"},
            {"a": "x", "d": "bad"},
            {"a": "x", "e": ""},
        ],
    ),
    Case(
        "untyped class",
        _untyped,
        [{"question": "q"}],
        [[{"question": "q", "answer": "a", "confidence": 0.1}]],
        [{"answer": "a", "confidence": "0.5"}, {"answer": "a", "confidence": "-1"}],
    ),
    Case(
        "inherited class",
        _inherited,
        [{"question": "q", "context": ["c"]}],
        [[{"question": "q", "context": [], "answer": Color.RED}]],
        [{"answer": "red"}, {"answer": "x"}],
    ),
    Case(
        "derived",
        _derived,
        [{"question": "q", "hints": ["h"]}],
        [[{"question": "q", "hints": [], "reasoning": "r", "unit": "m", "answer": 1.0}]],
        [{"reasoning": "r", "unit": "m", "answer": "1.5"}, {"reasoning": "r", "unit": "mile", "answer": "1.5"}],
    ),
    Case(
        "braces and quotes",
        _braces,
        [{"q": "{a} «b»"}, {"q": ["«", "»"]}],
        [[{"q": "{q}", "a": "{a}"}]],
        [{"a": "{x} [[ ## ]]"}],
    ),
    Case(
        "many fields",
        string("a, b, c, d, e, f -> g, h, i, j, k, l: int"),
        [{k: k * 3 for k in "abcdef"}, {"c": "x"}],
        [[{k: k for k in "abcdefghijkl"}, {"a": "x", "l": 3}]],
        [{k: k for k in "ghijk"} | {"l": "1"}, {k: k for k in "ghijkl"}],
    ),
    Case("no inputs", string("-> answer"), [{}, {"x": 1}], [[{"answer": "a"}]], ANSWERS),
    Case("no outputs", string("question ->"), [{"question": "q"}], [[{"question": "a"}]], [{}, {"x": "y"}]),
    Case(
        "odd names",
        string("HTMLText2Go, camelCase_x -> completed, text1: int"),
        [{"HTMLText2Go": "h", "camelCase_x": "c"}],
        [[{"HTMLText2Go": "h", "camelCase_x": "c", "completed": "d", "text1": 2}]],
        [{"completed": "x", "text1": "3"}],
    ),
    Case(
        "nested generics",
        string("m: dict[str, list[tuple[int, Optional[str]]]] -> r: list[dict[str, Union[int, list[str]]]]"),
        [{"m": {"a": [(1, None), (2, "x")]}}],
        [[{"m": {}, "r": [{"a": 1}, {"b": ["c"]}]}]],
        [{"r": '[{"a": 1}, {"b": ["c"]}]'}, {"r": '[{"a": "x"}]'}, {"r": "nothing"}],
    ),
    Case(
        "multi-line string form",
        string("question,\n  context: list[str]\n  -> answer: Literal['a',\n 'b']"),
        [{"question": "q", "context": []}],
        outputs=[{"answer": "a"}, {"answer": "c"}],
    ),
    Case(
        "dotted names",
        lambda ns: ns.Signature(
            "x: pydantic.BaseModel -> y: datetime.date, z: typing.List[int]",
            custom_types={"pydantic": pydantic, "datetime": datetime},
        ),
        [{"x": Address(street="s")}],
        outputs=[{"y": "2024-01-02", "z": "[1]"}, {"y": '"2024-01-02"', "z": "[1]"}, {"y": "tomorrow", "z": "[1]"}],
    ),
]
