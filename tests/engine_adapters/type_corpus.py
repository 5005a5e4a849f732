"""Signatures with custom types, histories and tools, on which both engines are compared. No tests here.

As `adapter_corpus`, but inputs and demos are functions too: they get the namespace, since their values are of its
types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import dspex.engine.signatures as signatures
import dspex.engine.types as types
import pydantic
import typing_extensions
from adapter_corpus import Address, Color, Person, Tree

DATA_URI = "data:image/png;base64,iVBORw0KGgo="


class Plain(typing_extensions.TypedDict):
    a: int
    b: list[str]


class Extended(typing_extensions.TypedDict):
    name: str
    scores: dict[str, float]


class Aliased(pydantic.BaseModel):
    """Two lines

    of docstring.
    """

    model_config = pydantic.ConfigDict(populate_by_name=True)
    full_name: str = pydantic.Field(alias="fullName")
    plan: Literal["a", 1, True, None] = pydantic.Field(default="a", description="which plan")
    color: Color | None = None
    where: Address | None = None
    several: list[Address] = []
    matrix: list[list[int]] = []
    weird_keys: dict[str, int | str] = {}


class Empty(pydantic.BaseModel):
    pass


def our_namespace() -> SimpleNamespace:
    return SimpleNamespace(
        Signature=signatures.Signature,
        InputField=signatures.InputField,
        OutputField=signatures.OutputField,
        **{name: getattr(types, name) for name in types.__all__},
    )


def dspys_namespace(dspy: ModuleType) -> SimpleNamespace:
    import dspy.experimental as experimental

    found = {name: getattr(dspy, name, None) or getattr(experimental, name) for name in types.__all__}
    return SimpleNamespace(
        Signature=dspy.Signature, InputField=dspy.InputField, OutputField=dspy.OutputField, **found
    )


Made = Callable[[Any], Any]


@dataclass(frozen=True)
class TypedCase:
    name: str
    make: Made
    inputs: list[Made]
    demos: list[Made] = field(default_factory=lambda: [lambda ns: []])
    outputs: list[dict[str, str]] = field(default_factory=list)


def sig(text: str, instructions: str | None = None, **more: Any) -> Made:
    def make(ns: Any) -> Any:
        custom = {name: getattr(ns, name) for name in types.__all__}
        known = {"Color": Color, "Address": Address, "Person": Person, "Tree": Tree, "Plain": Plain}
        known |= {"Extended": Extended, "Aliased": Aliased, "Empty": Empty}
        return ns.Signature(text, instructions, custom_types={**custom, **known, **more})

    return make


def search(query: str, limit: int = 5) -> list[str]:
    """Search the web.

    Returns addresses."""
    return [query] * limit


def _own_types(ns: Any) -> tuple[Any, Any]:
    """Two types of a user's, made once per namespace."""
    if hasattr(ns, "own_types"):
        return ns.own_types

    class Page(ns.Type):
        """A page."""

        number: int

        def format(self) -> list[dict[str, Any]]:
            return [{"type": "image_url", "image_url": {"url": f"https://x/{self.number}"}}]

        @classmethod
        def description(cls) -> str:
            return "One page of a book."

    class Word(ns.Type):
        text: str

        def format(self) -> str:
            return f"<{self.text}>"

        @pydantic.model_validator(mode="before")
        @classmethod
        def read(cls, data: Any) -> Any:
            return {"text": data} if isinstance(data, str) and data.startswith("w:") else data

    ns.own_types = Page, Word
    return Page, Word


def _own(ns: Any) -> Any:
    page, word = _own_types(ns)
    return ns.Signature(
        {
            "page": (page, ns.InputField(desc="to read")),
            "words": (list[word], ns.InputField()),
            "one": (word, ns.OutputField()),
            "pages": (dict[str, page], ns.OutputField()),
        },
        "Read.",
    )


def _own_values(ns: Any) -> dict[str, Any]:
    page, word = _own_types(ns)
    return {"page": page(number=1), "words": [word(text="a"), word(text="b")]}


def _history(ns: Any) -> Any:
    return ns.Signature(
        {
            "question": (str, ns.InputField()),
            "history": (ns.History, ns.InputField()),
            "topic": (str | None, ns.InputField(desc="what about")),
            "answer": (str, ns.OutputField()),
            "score": (float, ns.OutputField()),
        },
        "Talk.",
    )


def _agent(ns: Any) -> Any:
    return ns.Signature(
        {
            "question": (str, ns.InputField()),
            "history": (ns.History, ns.InputField()),
            "tools": (list[ns.Tool], ns.InputField()),
            "thought": (str | None, ns.OutputField()),
            "tool_calls": (ns.ToolCalls, ns.OutputField()),
        }
    )


def _agent_history(ns: Any, *, ids: bool = True, results: bool = True) -> Any:
    calls = ns.ToolCalls.from_dict_list(
        [
            {"id": "c1" if ids else None, "name": "search", "args": {"query": "ö", "n": [1]}},
            {"id": "c2" if ids else None, "name": "search", "args": {}},
        ]
    )
    if results:
        made = ns.ToolCallResults.from_tool_calls_and_values(calls, ["found", {"k": [1, None]}], [False, True])
        calls = calls.model_copy(update={"tool_call_results": made})
    return ns.History(
        messages=[
            {"question": "first?", "thought": "look", "tool_calls": calls},
            {"thought": None, "tool_calls": calls},
            {"question": "again", "tool_calls": {"tool_calls": [{"name": "x", "args": {"a": 1}}]}},
            {"thought": "only a thought"},
            {},
        ]
    )


TYPED_CASES: list[TypedCase] = [
    TypedCase(
        "image",
        sig("image: Image, question: str -> answer: str, other: Optional[str]"),
        [
            lambda ns: {"image": ns.Image("https://example.com/a.png"), "question": "what?"},
            lambda ns: {"image": ns.Image(DATA_URI), "question": f"a {ns.Image(DATA_URI)} inside"},
            lambda ns: {"image": [ns.Image(DATA_URI), "text"], "question": ""},
            lambda ns: {"image": "https://no.image/x.png", "question": "q"},
        ],
        [
            lambda ns: [{"image": ns.Image(DATA_URI), "question": "q", "answer": "a", "other": None}],
            lambda ns: [
                {"image": ns.Image(DATA_URI), "question": "q", "answer": "a", "other": "b"},
                {"image": ns.Image("gs://b/x"), "answer": "a"},
            ],
        ],
        [{"answer": "x"}, {"answer": "x", "other": "y"}],
    ),
    TypedCase(
        "images in containers",
        sig("images: list[Image], named: dict[str, list[Image]], maybe: Image | None -> caption: str"),
        [
            lambda ns: {"images": [ns.Image(DATA_URI), ns.Image("http://x/\"q'.png")], "named": {}, "maybe": None},
            lambda ns: {"images": [], "named": {"ä": [ns.Image(DATA_URI)]}, "maybe": ns.Image(DATA_URI)},
        ],
        [lambda ns: [{"images": [ns.Image(DATA_URI)], "named": {}, "maybe": ns.Image(DATA_URI), "caption": "c"}]],
        [{"caption": "x"}],
    ),
    TypedCase(
        "audio, file and document",
        sig("a: Audio, f: File, d: list[Document] -> text: str"),
        [
            lambda ns: {
                "a": ns.Audio(b"abc"),
                "f": ns.File(b"%PDF"),
                "d": [ns.Document(data="Ünï \"q\" \\ \n line", title="T", context="c"), ns.Document(data="x")],
            },
            lambda ns: {"a": ns.Audio(data="eA==", audio_format="mp3"), "f": ns.File.from_file_id("id", "n.pdf")},
        ],
        [lambda ns: [{"a": ns.Audio(b"a"), "f": ns.File(b"b"), "d": [ns.Document(data="x")], "text": "t"}]],
        [{"text": "x"}],
    ),
    TypedCase(
        "code",
        lambda ns: ns.Signature(
            {
                "source": (ns.Code["python"], ns.InputField()),
                "target": (ns.Code["Java"], ns.OutputField(desc="translated")),
                "py": (ns.Code, ns.OutputField()),
            }
        ),
        [lambda ns: {"source": "print(1)"}, lambda ns: {"source": ns.Code(code="```python\nx = 1\n```")}],
        [lambda ns: [{"source": "x", "target": ns.Code["Java"](code="int x;"), "py": "y"}]],
        [
            {"target": "```java\nint x;\n```", "py": "x = 1"},
            {"target": "int x;", "py": "```\ny\n``` and ```z```"},
            {"target": '{"code": "int x;"}', "py": "```one```"},
            {"target": "[1]", "py": "3"},
            {"target": '{"no": 1}', "py": ""},
        ],
    ),
    TypedCase(
        "reasoning",
        sig("question -> reasoning: Reasoning, answer: int"),
        [lambda ns: {"question": "q"}],
        [lambda ns: [{"question": "q", "reasoning": "r", "answer": 1}, {"question": "q", "reasoning": "x"}]],
        [
            {"reasoning": "Because.", "answer": "3"},
            {"reasoning": '{"content": "x"}', "answer": "3"},
            {"reasoning": "[1, 2]", "answer": "3"},
            {"reasoning": '"quoted"', "answer": "3"},
            {"reasoning": "12", "answer": "3"},
            {"reasoning": "", "answer": "3"},
        ],
    ),
    TypedCase(
        "tool calls",
        sig("question, tools: list[Tool] -> calls: ToolCalls, note: Optional[str]"),
        [lambda ns: {"question": "q", "tools": [ns.Tool(search)]}, lambda ns: {"question": "q", "tools": []}],
        [
            lambda ns: [
                {
                    "question": "q",
                    "tools": [ns.Tool(search, name="s", desc="d", arg_desc={"query": "what"})],
                    "calls": ns.ToolCalls.from_dict_list([{"name": "s", "args": {"query": "x"}}]),
                    "note": "n",
                }
            ]
        ],
        [
            {"calls": '{"tool_calls": [{"name": "search", "args": {"query": "x"}}]}'},
            {"calls": '[{"name": "search", "args": {}}]', "note": "n"},
            {"calls": '{"name": "search", "arguments": "{\\"a\\": 1}"}'},
            {"calls": '{"function": {"name": "search", "arguments": {"a": [1]}}, "id": "7"}'},
            {"calls": '{"tool_calls": []}'},
            {"calls": '{"tool_calls": "x"}'},
            {"calls": '{"function": 3}'},
            {"calls": "search('x')"},
            {"calls": "[]"},
            {"calls": '[{"name": null, "args": 1}]'},
        ],
    ),
    TypedCase("single tool", sig("t: Tool, o: dict[str, Tool] -> a"), [lambda ns: {"t": ns.Tool(search), "o": {}}]),
    TypedCase(
        "custom types of one's own",
        _own,
        [_own_values, lambda ns: {"page": None, "words": []}],
        [lambda ns: [{**_own_values(ns), "one": "w:x", "pages": {}}]],
        [
            {"one": "w:hello", "pages": "{}"},
            {"one": '{"text": "x"}', "pages": '{"a": {"number": 3}}'},
            {"one": "hello", "pages": '{"a": 1}'},
        ],
    ),
    TypedCase(
        "history",
        _history,
        [
            lambda ns: {
                "question": "now?",
                "history": ns.History(
                    messages=[
                        {"question": "a?", "answer": "b", "score": 0.5},
                        {"question": ["x", "y"], "topic": "t", "answer": "c", "score": 1},
                        {"answer": "only an answer"},
                        {"question": "only a question"},
                        {},
                        {"unknown": 1},
                    ]
                ),
                "topic": "t",
            },
            lambda ns: {"question": "now?", "history": ns.History(messages=[])},
            lambda ns: {"question": "now?"},
            lambda ns: {"history": ns.History(messages=[{"question": str(ns.Image(DATA_URI)), "answer": "b"}])},
        ],
        [
            lambda ns: [{"question": "q", "answer": "a", "score": 1.0}],
            lambda ns: [
                {"question": "q", "history": ns.History(messages=[]), "topic": "x", "answer": "a", "score": 1.0}
            ],
        ],
        [{"answer": "x", "score": "1"}],
    ),
    TypedCase(
        "an agent's history",
        _agent,
        [
            lambda ns: {"question": "now?", "tools": [ns.Tool(search)], "history": _agent_history(ns)},
            lambda ns: {"question": "now?", "tools": [ns.Tool(search)], "history": _agent_history(ns, ids=False)},
            lambda ns: {"tools": [ns.Tool(search)], "history": _agent_history(ns, results=False)},
        ],
        outputs=[{"thought": "t", "tool_calls": '{"tool_calls": [{"name": "search", "args": {}}]}'}],
    ),
    TypedCase(
        "typed dicts and aliases",
        sig("p: Plain, m: Aliased -> q: Plain, e: Extended, a: Aliased, maybe: Aliased | None, all: list[Aliased]"),
        [lambda ns: {"p": {"a": 1, "b": ["x"]}, "m": Aliased(fullName="F", where=Address(street="s"))}],
        [
            lambda ns: [
                {
                    "p": {"a": 1, "b": []},
                    "m": Aliased(fullName="F"),
                    "q": {"a": 2, "b": ["<&>"]},
                    "e": {"name": "n", "scores": {"a b": 1.0, "c": 2.0, 'q"': 3.0}},
                    "a": Aliased(fullName="A", matrix=[[1, 2], [], [3]], weird_keys={"1x": 1, "a-b": "y", "": "z"}),
                    "maybe": None,
                    "all": [],
                }
            ],
        ],
        [
            {
                "q": '{"a": 1, "b": ["x", "y"]}',
                "e": '{"name": "n", "scores": {"a b": 1.5}}',
                "a": '{"fullName": "F", "color": "red", "matrix": [[1], [2, 3]], "where": {"street": "s"}}',
                "maybe": "null",
                "all": '[{"fullName": "A"}, {"full_name": "B", "several": [{"street": "x"}]}]',
            },
            {
                "q": '{"a": "x"}',
                "e": '{"name": "n"}',
                "a": '{"full_name": "F", "plan": 1}',
                "maybe": '{"full_name": "z", "weird_keys": {"1x": "1"}}',
                "all": "[]",
            },
        ],
    ),
    TypedCase("empty model", sig("q -> e: Empty, f: list[Empty]"), [lambda ns: {"q": "x"}], outputs=[{"e": "{}"}]),
    TypedCase(
        "text with markup",
        sig("q -> a: str, b: list[str], c: Optional[list[int]], d: str | list[str]"),
        [lambda ns: {"q": "<b>&amp; \" ' ]]></b>"}],
        [lambda ns: [{"q": "x < y", "a": "1 < 2 & <b>3</b>", "b": ["<i>", "&"], "c": [1], "d": ["<x>"]}]],
        [
            {"a": "1 &lt; 2", "b": '["x"]', "c": "[1, 2]", "d": "t"},
            {"a": "plain <b>bold</b> tail", "b": "[]", "c": "null", "d": '["x", "y"]'},
        ],
    ),
]
