"""Signatures: strings, dicts, classes, fields, derivations, state, records."""

from __future__ import annotations

import copy
import datetime
import enum
import json
import pickle
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Optional, Union

import cloudpickle
import pydantic


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(pydantic.BaseModel):
    name: str
    age: int = 3


class Holder:
    class Inner(pydantic.BaseModel):
        x: int

    class Deep:
        class Deeper(pydantic.BaseModel):
            y: int


_STRINGS = [
    "question -> answer",
    "a,b->c",
    "a , b: int-> c :float",
    "  a -> b  ",
    "a->b,c",
    "a, -> b",
    "-> b",
    "a ->",
    "->",
    "",
    "a",
    "a -> b -> c",
    "a - > b",
    "a => b",
    "a -> a",
    "a, b -> b, a",
    "a b -> c",
    "1a -> b",
    "a-b -> c",
    "class -> b",
    "a: -> b",
    "a: int int -> b",
    "a: list[str] -> b: dict[str, int]",
    "a: list[ -> b",
    "a: list[str -> b",
    "a: list -> b: dict, c: tuple, d: set, e: frozenset",
    "a: bytes -> b: bytearray, c: complex",
    "a: List[str] -> b: Dict[str, Any], c: Tuple[int, str]",
    "a: typing.List[str] -> b: typing.Optional[int]",
    "a: Optional[str] -> b: Optional[list[int]]",
    "a: Union[int, str] -> b: Union[int, None]",
    "a: int | None -> b: str | int | None",
    "a: None | int -> b: None",
    "a: NoneType -> b",
    "a: str | (int | float) | None -> b",
    "a: list[int | None] -> b: dict[str, int | str]",
    "a: list[list[list[int]]] -> b: tuple[int, ...]",
    "a: tuple[int, str] -> b: tuple[int, tuple[str, float]]",
    "a: Literal['x', 'y'] -> b: Literal[1, 2, None]",
    "a: Literal['x'] | None -> b: list[Literal['p', 'q']]",
    'a: Literal["it\'s", "b,c"] -> b',
    "a: Literal['->'] -> b",
    "a: Literal[True, False] -> b",
    "a: Literal[-1] -> b",
    "a: Any -> b: Any",
    "a: object -> b",
    "a: Color -> b: list[Color]",
    "a: Person -> b: Optional[Person]",
    "a: list[Person] -> b: dict[str, Person]",
    "a: Holder.Inner -> b: list[Holder.Inner]",
    "a: Holder.Deep.Deeper -> b",
    "a: pydantic.BaseModel -> b: datetime.datetime",
    "a: datetime.date -> b: enum.Enum",
    "a: Holder.Nothing -> b",
    "a: Nothing -> b",
    "a: list[Nothing] -> b",
    "a: nothing.Other -> b",
    "a: Callable -> b",
    "a: Sequence[str] -> b: Iterable[int]",
    "a: Optional[int, str] -> b",
    "a: Optional -> b",
    "a: Union -> b",
    "a: list[str, int] -> b",
    "a: 3 -> b",
    "a: 'str' -> b",
    "a: 'x y' -> b",
    "a: True -> b",
    "a: ... -> b",
    "a: [int] -> b",
    "a: (int, str) -> b",
    "a: int() -> b",
    "a: lambda: 3 -> b",
    "a: int if 1 else str -> b",
    "a: int + str -> b",
    "a: x.y.z -> b",
    "a: {1: 2} -> b",
    "a: int, b: int -> c: Field(desc='x')",
    "a: Annotated[int, 'meta'] -> b",
    "a: Type[int] -> b",
    "a: dict[str, list[tuple[int, str]]] -> b",
    "a: type -> b",
    "a: None -> b: None",
    "a: int\n-> b",
    "a,\nb -> c",
    "question, context: list[str] -> answer: str, score: float",
    "a, a -> b",
    "a -> b, b",
    "_a -> b",
    "a -> _b",
    "ünïcode -> 变量",
    "model_x -> b",
    "copy -> json",
    "signature -> instructions",
    "fields -> b",
]


def _fields(sig: Any) -> Any:
    return [
        (name, f.annotation, dict(f.json_schema_extra), f.is_required())
        for name, f in sig.fields.items()
    ]


def _string(text: str) -> Callable[[Any], Any]:
    # The names that strings may use stand in this function's scope, as they would in a program's.
    def run(ns: Any) -> Any:
        sig = ns.Signature(text)
        return sig.signature, sig.instructions, _fields(sig)

    return run


def _attributes(ns: Any) -> Any:
    class Mixed(ns.Signature):
        """Do it."""

        q: str = ns.InputField(desc="the q")
        a: int = ns.OutputField(ge=0, le=10, desc="the a")

    return Mixed


def _kinds(ns: Any) -> Any:
    class Kinds(ns.Signature):
        """Sort
        things.

            Indented.
        """

        one = ns.InputField()
        out: list[int] = ns.OutputField()
        two: Optional[Person] = ns.InputField(default=None)  # noqa: UP045
        three: Literal["x", "y"] = ns.InputField(default="x")
        other: dict[str, Color] | None = ns.OutputField(desc="d")

    return Kinds


def _class(ns: Any, body: dict[str, Any], annotations: dict[str, Any] | None = None, doc: str | None = "Doc.") -> Any:
    namespace: dict[str, Any] = {"__module__": __name__, "__qualname__": "Made", **body}
    if doc is not None:
        namespace["__doc__"] = doc
    namespace["__annotations__"] = annotations or {}
    return type(ns.Signature)("Made", (ns.Signature,), namespace)


def _both(ns: Any) -> Any:
    return {"q": ns.InputField(), "a": ns.OutputField()}


def _edited(sig: Any) -> Any:
    sig.fields["q"].json_schema_extra["desc"] = "edited"
    sig.instructions = "Edited."
    return sig


def _sub(ns: Any) -> Any:
    class Base(ns.Signature):
        """Base doc."""

        q: str = ns.InputField()
        a: str = ns.OutputField()

    class Child(Base):
        hint: int = ns.InputField()
        a: float = ns.OutputField(desc="changed")

    return Base, Child


def _with_methods(ns: Any) -> Any:
    class Methods(ns.Signature):
        LIMIT: ClassVar[int] = 3
        q: str = ns.InputField()
        a: str = ns.OutputField()

        @classmethod
        def twice(cls) -> int:
            return cls.LIMIT * 2

        @staticmethod
        def three() -> int:
            return 3

    return Methods.twice(), Methods.three(), list(Methods.fields), Methods.instructions


def _schema(sig: Any) -> Any:
    return json.dumps(sig.model_json_schema(), sort_keys=True)


def _late(ns: Any) -> Any:
    sig = ns.Signature("q -> a")
    for number in range(5):
        sig = sig.with_updated_fields("q", desc=f"{number}").with_instructions(f"I{number}")
    return sig.dump_state()


BEHAVIOURS: dict[str, Callable[[Any], Any]] = {
    **{f"the string {text!r}": _string(text) for text in _STRINGS},
    "the class of a string": lambda ns: (
        ns.Signature("a -> b").__name__,
        ns.Signature("a -> b").__mro__[1].__name__,
        isinstance(ns.Signature("a -> b"), type),
    ),
    "instructions by position": lambda ns: ns.Signature("a -> b", "Do.").instructions,
    "instructions by name": lambda ns: ns.Signature("a -> b", instructions="Do.").instructions,
    "instructions empty": lambda ns: ns.Signature("a -> b", "").instructions,
    "instructions with indentation": lambda ns: ns.Signature("a -> b", "  Do\n    this.\n").instructions,
    "instructions of another type": lambda ns: ns.Signature("a -> b", 3).instructions,
    "a name for the signature": lambda ns: ns.make_signature("a -> b", signature_name="Named").__name__,
    "a name given to Signature": lambda ns: ns.Signature("a -> b", signature_name="Named").__name__,
    "custom types": lambda ns: _fields(ns.Signature("a: T -> b", custom_types={"T": Person})),
    "custom types hide builtins": lambda ns: _fields(ns.make_signature("a: List -> b", custom_types={"List": Person})),
    "custom dotted types": lambda ns: _fields(ns.Signature("a: M.T -> b", custom_types={"M.T": Person})),
    "make_signature does not look around": lambda ns: ns.make_signature("a: Qqq -> b"),
    "no arguments": lambda ns: ns.Signature(),
    "a number": lambda ns: ns.Signature(3),
    "None": lambda ns: ns.Signature(None),
    "a list": lambda ns: ns.Signature(["a", "b"]),
    "an unknown option": lambda ns: ns.Signature("a -> b", nothing=3),
    "a dict": lambda ns: _fields(ns.Signature({"q": (str, ns.InputField()), "a": (list[int], ns.OutputField())})),
    "a dict of fields": lambda ns: _fields(ns.Signature(_both(ns))),
    "a dict with instructions": lambda ns: ns.Signature(_both(ns), "Do.").instructions,
    "a dict without instructions": lambda ns: ns.Signature(_both(ns)).instructions,
    "a dict out of order": lambda ns: ns.Signature({"a": ns.OutputField(), "q": ns.InputField()}).signature,
    "a dict with a None type": lambda ns: _fields(ns.Signature({"q": (None, ns.InputField()), "a": ns.OutputField()})),
    "a dict with a bad type": lambda ns: ns.Signature({"q": (3, ns.InputField())}),
    "a dict with a text type": lambda ns: ns.Signature({"q": ("int", ns.InputField())}),
    "a dict with a bad field": lambda ns: ns.Signature({"q": (str, 3)}),
    "a dict with a bare type": lambda ns: ns.Signature({"q": str}),
    "a dict with a bad name": lambda ns: ns.Signature({3: (str, ns.InputField())}),
    "a dict with plain pydantic fields": lambda ns: ns.Signature({"q": (str, pydantic.Field())}),
    "a dict with a union": lambda ns: _fields(ns.Signature({"q": (int | None, ns.InputField()), "a": ns.OutputField()})),
    "a dict with an underscore": lambda ns: ns.Signature({"_q": (str, ns.InputField())}),
    "an empty dict": lambda ns: (ns.Signature({}).signature, ns.Signature({}).instructions),
    "ensure_signature of a string": lambda ns: ns.ensure_signature("a -> b", "Do.").instructions,
    "ensure_signature of a signature": lambda ns: (lambda s: ns.ensure_signature(s) is s)(ns.Signature("a -> b")),
    "ensure_signature of None": lambda ns: ns.ensure_signature(None),
    "ensure_signature with instructions": lambda ns: ns.ensure_signature(ns.Signature("a -> b"), "Do."),
    "ensure_signature of anything": lambda ns: ns.ensure_signature(3),
    "a class": lambda ns: repr(_attributes(ns)),
    "a class of many kinds": lambda ns: (repr(_kinds(ns)), _fields(_kinds(ns)), _kinds(ns).instructions),
    "input and output fields": lambda ns: (list(_kinds(ns).input_fields), list(_kinds(ns).output_fields)),
    "model_fields": lambda ns: list(_kinds(ns).model_fields),
    "the doc of a class": lambda ns: _kinds(ns).__doc__,
    "a class without a doc": lambda ns: _class(ns, _both(ns), doc=None).instructions,
    "a class with an empty doc": lambda ns: _class(ns, _both(ns), doc="").instructions,
    "a class without fields": lambda ns: (_class(ns, {}).signature, _class(ns, {}, doc=None).instructions),
    "a class with a bare annotation": lambda ns: _class(ns, {}, {"q": str}),
    "a class with a pydantic field": lambda ns: _class(ns, {"q": pydantic.Field()}, {"q": str}),
    "a class with a default that is no field": lambda ns: _class(ns, {"q": 3}, {"q": int}),
    "a class with a plain attribute": lambda ns: _class(ns, {"limit": 3}),
    "a class with an underscore": lambda ns: _class(ns, {"_q": ns.InputField()}, {"_q": str}),
    "a class with methods": _with_methods,
    "a class with a config": lambda ns: list(
        _class(ns, {"model_config": pydantic.ConfigDict(extra="forbid"), **_both(ns)}).fields
    ),
    "inheritance": lambda ns: [(c.signature, c.instructions, _fields(c)) for c in _sub(ns)],
    "inheritance from a string": lambda ns: type(ns.Signature)(
        "More", (ns.Signature("a -> b"),), {"__module__": __name__, "__doc__": "More.", "c": ns.InputField()}
    ).signature,
    "issubclass": lambda ns: (issubclass(_sub(ns)[1], _sub(ns)[0].__mro__[-3]), issubclass(_attributes(ns), ns.Signature)),
    "issubclass of a pydantic model": lambda ns: (
        issubclass(_attributes(ns), pydantic.BaseModel),
        issubclass(ns.Signature, pydantic.BaseModel),
    ),
    "an option of a field": lambda ns: _fields(ns.Signature({"q": (str, ns.InputField(desc="d")), "a": ns.OutputField()})),
    "description": lambda ns: _fields(_class(ns, {"q": ns.InputField(description="d"), "a": ns.OutputField()})),
    "desc and description": lambda ns: _fields(_class(ns, {"q": ns.InputField(description="d", desc="e")})),
    "prefix": lambda ns: _fields(_class(ns, {"q": ns.InputField(prefix="P:"), "a": ns.OutputField()})),
    "format": lambda ns: ns.InputField(format=str).json_schema_extra,
    "parser": lambda ns: ns.OutputField(parser=int).json_schema_extra,
    "all deprecated": lambda ns: ns.OutputField(parser=int, prefix="p", format=str).json_schema_extra,
    "constraints": lambda ns: ns.OutputField(
        gt=1, ge=2, lt=3, le=4, multiple_of=5, allow_inf_nan=False
    ).json_schema_extra,
    "length constraints": lambda ns: ns.OutputField(max_length=9, min_length=2).json_schema_extra,
    "constraints without text": lambda ns: ns.OutputField(pattern="x+").json_schema_extra,
    "constraint of None": lambda ns: ns.OutputField(ge=None).json_schema_extra,
    "constraint on the wrong type": lambda ns: _class(ns, {"q": ns.InputField(ge="x")}, {"q": int}).signature,
    "defaults": lambda ns: _fields(_class(ns, {"q": ns.InputField(default=3), "a": ns.OutputField(default=None)})),
    "default by position": lambda ns: ns.InputField(3),
    "default factory": lambda ns: _class(ns, {"q": ns.InputField(default_factory=list)}).fields["q"].default_factory,
    "default and factory": lambda ns: ns.InputField(default=1, default_factory=list),
    "an unknown option of a field": lambda ns: ns.InputField(nothing=3).json_schema_extra,
    "json_schema_extra given": lambda ns: ns.InputField(json_schema_extra={"x": 1}).json_schema_extra,
    "alias": lambda ns: ns.InputField(alias="x").alias,
    "title": lambda ns: _fields(_class(ns, {"q": ns.InputField(title="T")})),
    "repr of a field": lambda ns: repr(ns.InputField(desc="d", ge=1)),
    "examples": lambda ns: ns.OutputField(examples=["a"]).examples,
    "append": lambda ns: ns.Signature("a -> b").append("c", ns.InputField(), int).signature,
    "append an output": lambda ns: _fields(ns.Signature("a -> b").append("c", ns.OutputField(desc="d"), list[int])),
    "append by name": lambda ns: ns.Signature("a -> b").append(name="c", field=ns.InputField(), type_=int).signature,
    "append without a type": lambda ns: _fields(ns.Signature("a -> b").append("c", ns.InputField())),
    "append a pydantic field": lambda ns: ns.Signature("a -> b").append("c", pydantic.Field()),
    "append no field": lambda ns: ns.Signature("a -> b").append("c", 3),
    "append a bad type": lambda ns: ns.Signature("a -> b").append("c", ns.InputField(), 3),
    "append a text type": lambda ns: ns.Signature("a -> b").append("c", ns.InputField(), "int"),
    "append a known name": lambda ns: ns.Signature("a, c -> b").append("a", ns.InputField(), int).signature,
    "append a known name on the other side": lambda ns: ns.Signature("a, c -> b").append("a", ns.OutputField()).signature,
    "append keeps the class as it was": lambda ns: (lambda s: (s.append("c", ns.InputField()), s.signature)[1])(
        ns.Signature("a -> b")
    ),
    "the class of a derivation": lambda ns: (
        _attributes(ns).append("c", ns.InputField()).__name__,
        _attributes(ns).append("c", ns.InputField()).__mro__[1].__name__,
    ),
    "prepend": lambda ns: ns.Signature("a -> b").prepend("c", ns.OutputField()).signature,
    "insert": lambda ns: [ns.Signature("a, b -> c").insert(i, "x", ns.InputField()).signature for i in (0, 1, 2, -1, -2)],
    "insert too far": lambda ns: ns.Signature("a -> b").insert(5, "x", ns.InputField()),
    "insert too far back": lambda ns: ns.Signature("a -> b").insert(-5, "x", ns.OutputField()),
    "insert at no number": lambda ns: ns.Signature("a -> b").insert("1", "x", ns.OutputField()),
    "delete": lambda ns: ns.Signature("a, b -> c").delete("b").signature,
    "delete nothing": lambda ns: ns.Signature("a, b -> c").delete("z").signature,
    "delete all": lambda ns: ns.Signature("a -> b").delete("a").delete("b").signature,
    "delete keeps instructions": lambda ns: ns.Signature("a, b -> c").delete("b").instructions,
    "with_instructions": lambda ns: ns.Signature("a -> b").with_instructions("New.").instructions,
    "with_instructions of nothing": lambda ns: ns.Signature("a -> b", "Old.").with_instructions("").instructions,
    "with_instructions of None": lambda ns: ns.Signature("a -> b", "Old.").with_instructions(None).instructions,
    "append_instructions": lambda ns: ns.Signature("a -> b", "Old.").append_instructions("New.").instructions,
    "with_updated_fields": lambda ns: _fields(ns.Signature("a -> b").with_updated_fields("a", desc="d", type_=int)),
    "with_updated_fields of prefix": lambda ns: _fields(ns.Signature("a -> b").with_updated_fields("a", prefix="P")),
    "with_updated_fields of anything": lambda ns: _fields(ns.Signature("a -> b").with_updated_fields("a", whatever=3)),
    "with_updated_fields of nothing": lambda ns: ns.Signature("a -> b").with_updated_fields("z", desc="d"),
    "with_updated_fields of a bad type": lambda ns: ns.Signature("a -> b").with_updated_fields("a", type_=3),
    "with_updated_fields of a constraint": lambda ns: _fields(_attributes(ns).with_updated_fields("a", constraints="x")),
    "derivations keep defaults": lambda ns: _fields(_kinds(ns).with_instructions("x").delete("one")),
    "many derivations": _late,
    "equals": lambda ns: (
        ns.Signature("a -> b").equals(ns.Signature("a -> b")),
        ns.Signature("a -> b").equals(ns.Signature("a -> c")),
        ns.Signature("a: int -> b").equals(ns.Signature("a: float -> b")),
        ns.Signature("a: int -> b").equals(ns.Signature("a -> b")),
        ns.Signature("a -> b").equals("a -> b"),
        ns.Signature("a -> b").equals(None),
        ns.Signature("a -> b") == ns.Signature("a -> b"),
        ns.Signature("a, b -> c").equals(ns.Signature("b, a -> c", "Given the fields `a`, `b`, produce the fields `c`.")),
    ),
    "equals a pydantic model": lambda ns: ns.Signature("a -> b").equals(Person),
    "equals an instance": lambda ns: ns.Signature("a -> b").equals(Person(name="x")),
    "hashable": lambda ns: len({ns.Signature("a -> b"), ns.Signature("a -> b")}),
    "dump_state": lambda ns: _kinds(ns).dump_state(),
    "load_state": lambda ns: _attributes(ns).load_state(_kinds(ns).dump_state()).dump_state(),
    "load_state of fewer": lambda ns: ns.Signature("a -> b").load_state(
        {"instructions": "I", "fields": [{"prefix": "P", "description": "D"}]}
    ).dump_state(),
    "load_state of nothing": lambda ns: ns.Signature("a -> b").load_state({}),
    "load_state without fields": lambda ns: ns.Signature("a -> b").load_state({"instructions": "x"}),
    "load_state without a prefix": lambda ns: ns.Signature("a -> b").load_state({"instructions": "x", "fields": [{}]}),
    "load_state keeps types": lambda ns: _fields(_attributes(ns).load_state(_attributes(ns).dump_state())),
    "edited in place": lambda ns: repr(_edited(ns.Signature("q -> a"))),
    "edited and derived": lambda ns: repr(_edited(ns.Signature("q -> a")).append("z", ns.InputField())),
    "assign a class attribute": lambda ns: setattr(ns.Signature("q -> a"), "extra", 3),
    "an attribute that is not there": lambda ns: ns.Signature("q -> a").nothing,
    "a field as attribute": lambda ns: ns.Signature("q -> a").q,
    "hasattr of a field": lambda ns: hasattr(ns.Signature("q -> a"), "q"),
    "repr": lambda ns: repr(ns.Signature("q: list[int] -> a: Optional[str]", "Do\nthis.")),
    "str": lambda ns: str(ns.Signature("q -> a")),
    "a record": lambda ns: ns.Signature("q -> a: int")(q="x", a=3),
    "a record's values": lambda ns: (lambda r: (r.q, r.a))(ns.Signature("q -> a: int")(q="x", a="3")),
    "a record's dump": lambda ns: ns.Signature("q -> a: int")(q="x", a=3).model_dump(),
    "a record as JSON": lambda ns: ns.Signature("q -> a: int")(q="x", a=3).model_dump_json(),
    "a record's fields": lambda ns: sorted(ns.Signature("q -> a: int")(q="x", a=3).model_fields_set),
    "a record's copy": lambda ns: ns.Signature("q -> a: int")(q="x", a=3).model_copy(update={"a": 4}),
    "a record's repr": lambda ns: repr(ns.Signature("q -> a: int")(q="x", a=3)),
    "equal records": lambda ns: (lambda s: s(q="x", a=3) == s(q="x", a=3))(ns.Signature("q -> a: int")),
    "a record that lacks a field": lambda ns: ns.Signature("q -> a: int")(q="x"),
    "a record of a wrong type": lambda ns: ns.Signature("q -> a: int")(q="x", a="y"),
    "a record with more": lambda ns: ns.Signature("q -> a")(q="x", a="y", z=3).model_dump(),
    "a record by position": lambda ns: ns.Signature("q -> a")("x"),
    "a record's constraints": lambda ns: _attributes(ns)(q="x", a=11),
    "a record with defaults": lambda ns: _kinds(ns)(one="x", out=[1], other=None).model_dump(),
    "a record is changed": lambda ns: (lambda r: (setattr(r, "a", 5), r.a))(ns.Signature("q -> a: int")(q="x", a=3)),
    "isinstance of a record": lambda ns: (lambda s: (isinstance(s(q="", a=""), s), isinstance(s(q="", a=""), ns.Signature)))(
        ns.Signature("q -> a")
    ),
    "a record is a model": lambda ns: isinstance(ns.Signature("q -> a")(q="x", a="y"), pydantic.BaseModel),
    "model_json_schema": lambda ns: _schema(_kinds(ns)),
    "model_json_schema of a string": lambda ns: _schema(ns.Signature("q: int -> a: list[str]")),
    "model_validate": lambda ns: ns.Signature("q -> a: int").model_validate({"q": "x", "a": 3}).a,
    "model_validate_json": lambda ns: ns.Signature("q -> a: int").model_validate_json('{"q": "x", "a": 3}').a,
    "model_construct": lambda ns: ns.Signature("q -> a: int").model_construct(q="x", a="y").a,
    "model_config": lambda ns: dict(ns.Signature("q -> a").model_config),
    "infer_prefix": lambda ns: [
        ns.infer_prefix(n) for n in ("someAttributeName42IsCool", "isHTTPSSecure123", "URLAddress", "a_b", "", "x", "_y")
    ],
    "deepcopy of a signature": lambda ns: (lambda s: copy.deepcopy(s) is s)(ns.Signature("q -> a")),
    "cloudpickle of a string signature": lambda ns: repr(
        pickle.loads(cloudpickle.dumps(ns.Signature("q: int -> a", "Do.")))
    ),
    "cloudpickle of a class": lambda ns: repr(pickle.loads(cloudpickle.dumps(_attributes(ns)))),
    "cloudpickle of a record": lambda ns: pickle.loads(cloudpickle.dumps(_attributes(ns)(q="x", a=3))).a,
    "the name of the metaclass": lambda ns: type(ns.Signature).__name__,
    "the signature of nothing": lambda ns: (ns.Signature.signature, ns.Signature.instructions, ns.Signature.fields),
    "names that types hide": lambda ns: _fields(ns.Signature("str -> int: list")),
    "Annotated in a class": lambda ns: _fields(
        _class(ns, {"q": ns.InputField()}, {"q": typing.Annotated[int, pydantic.Field(ge=3)]})
    ),
    "unions in a class": lambda ns: _fields(
        _class(ns, {"q": ns.InputField(), "r": ns.InputField()}, {"q": int | None, "r": Union[int, None]})  # noqa: UP007
    ),
    "dates": lambda ns: _fields(_class(ns, {"q": ns.InputField()}, {"q": list[datetime.date]})),
    "set instructions": lambda ns: (lambda s: (setattr(s, "instructions", "  X\n   y"), s.instructions, s.__doc__))(
        ns.Signature("a -> b")
    ),
    "custom types of the caller's frame": lambda ns: _scoped(ns),
    "old fields": lambda ns: (ns.OldInputField(prefix="p", desc="d"), ns.OldOutputField(), ns.OldField(input=True)),
}


def _scoped(ns: Any) -> Any:
    class Local(pydantic.BaseModel):
        x: int

    return [
        ns.Signature("a: Local -> b").fields["a"].annotation.__name__,
        ns.Predict("a: Local -> b").signature.fields["a"].annotation.__name__,
    ]


def _in_place(ns: Any, edit: Callable[[Any], Any]) -> Any:
    sig = ns.Signature("q -> a: int")
    field = sig.fields["q"]
    result = edit(field)
    return result, repr(sig), sig.dump_state() if "prefix" in field.json_schema_extra else None, repr(field)


BEHAVIOURS |= {
    f"edit: {name}": (lambda ns, edit=edit: _in_place(ns, edit))
    for name, edit in {
        "update": lambda f: f.json_schema_extra.update(desc="new", other=1),
        "pop": lambda f: f.json_schema_extra.pop("IS_TYPE_UNDEFINED"),
        "delete": lambda f: f.json_schema_extra.__delitem__("IS_TYPE_UNDEFINED"),
        "setdefault": lambda f: f.json_schema_extra.setdefault("more", 2),
        "or": lambda f: f.json_schema_extra.__ior__({"desc": "or"}) and None,
        "replace": lambda f: setattr(f, "json_schema_extra", {**f.json_schema_extra, "desc": "replaced"}),
        "replace and edit": lambda f: (
            setattr(f, "json_schema_extra", {**f.json_schema_extra}),
            f.json_schema_extra.update(desc="edited again"),
        ),
        "annotation": lambda f: setattr(f, "annotation", list[int]),
        "default": lambda f: setattr(f, "default", 3),
        "description": lambda f: setattr(f, "description", "d"),
        "a copy": lambda f: copy.copy(f).json_schema_extra["prefix"],
        "a deep copy": lambda f: copy.deepcopy(f).json_schema_extra.update(desc="of the copy"),
        "a pickle": lambda f: pickle.loads(pickle.dumps(f)).json_schema_extra,
        "as JSON": lambda f: json.dumps(f.json_schema_extra),
        "equality": lambda f: f.json_schema_extra == dict(f.json_schema_extra),
        "its class": lambda f: (type(f).__name__, isinstance(f, pydantic.fields.FieldInfo)),
        "its class's place": lambda f: type(f.json_schema_extra) is dict or isinstance(f.json_schema_extra, dict),
    }.items()
}


def _taken_elsewhere(ns: Any) -> Any:
    first = ns.Signature("q -> a")
    second = ns.Signature({"z": first.fields["q"], "a": first.fields["a"]})
    second.fields["z"].json_schema_extra["more"] = 1
    third = first.append("x", first.fields["q"])
    return repr(second), repr(third), "more" in first.fields["q"].json_schema_extra


BEHAVIOURS |= {"edit: fields taken elsewhere": lambda ns: _taken_elsewhere(ns)[1:]}
