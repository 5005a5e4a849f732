"""Signatures: resolving types, declaring, deriving, saving; and what is refused, by which error."""

import copy
import gc
import random
import string
import sys
import typing
import warnings
import weakref
from types import ModuleType
from typing import Any, ClassVar, Literal, Optional

import pydantic
import pytest
from adapter_corpus import Color, Person
from dspex.engine.signatures import (
    DuplicateFieldError,
    FieldDeclarationError,
    FieldPositionError,
    FieldTypeError,
    InputField,
    OutputField,
    Signature,
    SignatureError,
    SignatureFormatError,
    SignatureSyntaxError,
    UnknownFieldError,
    UnknownTypeError,
    ensure_signature,
    infer_prefix,
    make_signature,
)


def test_the_string_form_makes_a_class_that_can_be_subclassed() -> None:
    sig = Signature("question, context: list[str] -> answer: str, score: float")
    assert isinstance(sig, type)
    assert issubclass(sig, Signature)
    assert sig.__name__ == "StringSignature"
    assert sig.signature == "question, context -> answer, score"
    assert sig.instructions == "Given the fields `question`, `context`, produce the fields `answer`, `score`."
    assert sig.fields["context"].annotation == list[str]

    class More(sig):
        """More."""

        hint: int = InputField()

    assert list(More.fields) == ["question", "context", "hint", "answer", "score"]
    assert More.instructions == "More."


def test_types_are_found_in_the_scopes_of_the_callers_even_deep_inside_generics() -> None:
    class Local(pydantic.BaseModel):
        x: int

    def build() -> Any:
        return Signature(
            "a: Local -> b: dict[str, list[Local]], c: Person, d: typing.Optional[Local], e: pydantic.BaseModel"
        )

    sig = build()
    assert sig.fields["a"].annotation is Local
    assert sig.fields["b"].annotation == dict[str, list[Local]]
    assert sig.fields["c"].annotation is Person
    assert sig.fields["d"].annotation == Optional[Local]  # noqa: UP045
    assert sig.fields["e"].annotation is pydantic.BaseModel


def test_a_name_of_the_engine_itself_is_not_the_callers() -> None:
    with pytest.raises(UnknownTypeError):
        Signature("a: TypeReader -> b")


def test_the_same_string_means_the_type_of_each_caller() -> None:
    def first() -> Any:
        class Here: ...

        return Signature("a: Here -> b"), Here

    def second() -> Any:
        class Here: ...

        return Signature("a: Here -> b"), Here

    for sig, here in (first(), second()):
        assert sig.fields["a"].annotation is here


def test_custom_types_come_before_typing_and_may_be_dotted() -> None:
    class Text: ...

    sig = Signature("a: Text -> b: My.Type", custom_types={"Text": Text, "My.Type": Color})
    assert sig.fields["a"].annotation is Text
    assert sig.fields["b"].annotation is Color


def test_annotations_kept_as_text_are_resolved() -> None:
    class Inner(pydantic.BaseModel):
        x: int

    namespace = {
        "Signature": Signature,
        "InputField": InputField,
        "OutputField": OutputField,
        "Inner": Inner,
        "typing": typing,
    }
    source = (
        "from __future__ import annotations\n"
        "class S(Signature):\n"
        "    ready: typing.ClassVar[int] = 3\n"
        "    a: list[Inner] = InputField()\n"
        "    b: typing.Optional[Inner] = OutputField()\n"
    )
    module = ModuleType("made_for_this_test")
    vars(module).update(namespace)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, "made_for_this_test.py", "exec"), vars(module))
    finally:
        del sys.modules[module.__name__]
    sig = vars(module)["S"]
    assert sig.fields["a"].annotation == list[Inner]
    assert sig.fields["b"].annotation == Optional[Inner]  # noqa: UP045

    class Quoted(Signature):
        a: "list[Inner]" = InputField()
        b: "Literal['x']" = OutputField()

    assert Quoted.fields["a"].annotation == list[Inner]
    assert Quoted.fields["b"].annotation == Literal["x"]


def test_methods_class_variables_and_private_names_may_stand_beside_the_fields() -> None:
    class Mixed(Signature):
        limit: ClassVar[int] = 3
        _hidden: int = 4
        q: str = InputField()
        a: str = OutputField()

        @classmethod
        def twice(cls) -> int:
            return cls.limit * 2

    assert list(Mixed.fields) == ["q", "a"]
    assert Mixed.twice() == 6
    assert not hasattr(Mixed, "q")


def test_deriving_a_thousand_times_costs_no_more_at_the_end_and_keeps_nothing_alive() -> None:
    first = Signature("q -> a: int")
    alive = weakref.ref(first)
    sig, depth = first, sys.getrecursionlimit()
    sys.setrecursionlimit(220)  # a chain of 1,000 could not be copied, compared or freed within this
    try:
        for round_number in range(1000):
            sig = sig.with_updated_fields("q", desc=f"round {round_number}").with_instructions(f"{round_number}")
            sig = sig.load_state(sig.dump_state())
            sig.fields["a"].json_schema_extra["desc"] = f"edited {round_number}"
        copy.deepcopy(sig.specs)
    finally:
        sys.setrecursionlimit(depth)
    assert sig.instructions == "999"
    assert sig.fields["q"].json_schema_extra["desc"] == "round 999"
    assert len(sig.specs) == 2
    assert len(sig.specs[0].extra) == len(first.specs[0].extra)
    del first
    gc.collect()
    assert alive() is None


def test_no_derivation_changes_what_it_was_derived_from() -> None:
    sig = Signature("q, c -> a", "Text.")
    before = repr(sig)
    field = InputField(desc="new")
    sig.append("x", field, int).prepend("y", OutputField()).insert(1, "z", InputField()).delete("q")
    sig.with_instructions("Other.").append_instructions("More.").with_updated_fields("q", desc="d", type_=int)
    changed = sig.load_state({"instructions": "I", "fields": [{"prefix": "P", "description": "D"}] * 3})
    changed.fields["q"].json_schema_extra["desc"] = "edited"
    changed.instructions = "edited"
    assert repr(sig) == before
    assert field.annotation is None
    assert "prefix" not in field.json_schema_extra


def test_fields_edited_in_place_are_edited_everywhere() -> None:
    sig = Signature("q -> a")
    specs = sig.specs
    assert sig.specs is specs
    sig.fields["q"].json_schema_extra["desc"] = "edited"
    sig.output_fields["a"].annotation = int
    assert sig.specs is not specs
    assert sig.specs is sig.specs
    assert sig.with_instructions("x").fields["q"].json_schema_extra["desc"] == "edited"
    assert sig.specs[1].annotation is int
    assert sig.dump_state()["fields"][0]["description"] == "edited"


def test_instructions_may_be_assigned() -> None:
    sig = Signature("q -> a")
    sig.instructions = "  New\n    text"
    assert sig.instructions == "New\ntext"
    assert sig.__doc__ == "  New\n    text"


def test_equals_compares_texts_and_not_types_as_dspy_does() -> None:
    assert Signature("q: int -> a").equals(Signature("q: str -> a"))
    assert not Signature("q -> a").equals(Signature("q: str -> a"))  # whether a type was given is one of the options
    assert not Signature("q -> a").equals(Signature("q -> b"))
    assert not Signature("q -> a").equals(Signature("q -> a", "x"))
    assert not Signature("q -> a").equals("q -> a")
    assert Signature("q -> a") != Signature("q -> a")


def test_a_called_signature_is_a_record_of_validated_values() -> None:
    class Pair(Signature):
        q: str = InputField()
        n: int = OutputField(default=3, ge=0)

    record = Pair(q="x")
    assert isinstance(record, Pair)
    assert (record.q, record.n) == ("x", 3)
    assert record == Pair(q="x", n=3)
    with pytest.raises(pydantic.ValidationError):
        Pair(q="x", n=-1)
    with pytest.raises(pydantic.ValidationError):
        Pair(n=1)


def test_ensure_signature_takes_strings_and_signatures() -> None:
    sig = Signature("q -> a")
    assert ensure_signature(sig) is sig
    assert ensure_signature(None) is None
    assert ensure_signature("q -> a", "Text.").instructions == "Text."
    with pytest.raises(SignatureError, match="Don't specify instructions"):
        ensure_signature(sig, "Text.")


def test_deprecated_options_warn_and_do_nothing() -> None:
    with pytest.warns(DeprecationWarning, match="prefix"):
        InputField(prefix="X:")
    with pytest.warns(DeprecationWarning, match="parser"):
        OutputField(parser=int)


def test_a_state_with_other_fields_is_taken_as_far_as_it_goes_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    loaded = Signature("q -> a").load_state({"instructions": "I", "fields": [{"prefix": "P", "description": "D"}]})
    assert loaded.fields["q"].json_schema_extra["desc"] == "D"
    assert loaded.fields["a"].json_schema_extra["desc"] == "${a}"
    assert "1 fields" in caplog.text


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("question answer", SignatureFormatError, "exactly one '->'"),
        ("a -> b -> c", SignatureFormatError, "exactly one '->'"),
        ("", SignatureFormatError, "exactly one '->'"),
        ("a b -> c", SignatureSyntaxError, "not a list of fields"),
        ("class -> c", SignatureSyntaxError, "not a list of fields"),
        ("a): pass\nimport os\ndef f(b -> c", SignatureSyntaxError, "not a list of fields"),
        ("*a -> c", SignatureSyntaxError, "no meaning between fields"),
        ("a, /, b -> c", SignatureSyntaxError, "no meaning between fields"),
        ("a: int = 3 -> c", SignatureSyntaxError, "InputField\\(default"),
        ("a, a -> b", DuplicateFieldError, "'a'"),
        ("a -> a", DuplicateFieldError, "duplicates: 'a'"),
        ("_a -> b", SignatureFormatError, "underscore"),
        ("a: Nowhere -> b", UnknownTypeError, "Unknown name: Nowhere .*field `a`.*custom_types"),
        ("a: list[Nowhere] -> b", UnknownTypeError, "Nowhere"),
        ("a -> b: nowhere.Type", UnknownTypeError, "field `b`"),
        ("a: typing.Nope -> b", UnknownTypeError, "typing.Nope"),
        ("a: pydantic.BaseModel.__init__ -> b", UnknownTypeError, "__init__"),
        ("a: 3 -> b", FieldTypeError, "Field types must be types"),
        ("a: 'str' -> b", FieldTypeError, "Field types must be types"),
        ("a: list['str'] -> b", FieldTypeError, "is not a type"),
        ("a: int[str] -> b", FieldTypeError, "int\\[str\\]"),
        ("a: Optional[int, str] -> b", FieldTypeError, "exactly one"),
        ("a: (lambda: int)() -> b", FieldTypeError, "unhandled AST node"),
        ("a: print('x') -> b", FieldTypeError, "unhandled AST node"),
        ("a: typing -> b", FieldTypeError, "module"),
    ],
)
def test_a_string_that_is_no_signature_is_refused_by_a_value_error_that_names_the_fix(
    text: str, error: type[SignatureError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        Signature(text)
    assert isinstance(caught.value, ValueError)


def test_errors_carry_the_field_and_the_type_as_written() -> None:
    with pytest.raises(UnknownTypeError) as caught:
        Signature("a -> b: dict[str, Nowhere]")
    assert (caught.value.field, caught.value.type_text) == ("b", "Nowhere")


def test_bad_declarations_are_refused() -> None:
    with pytest.raises(FieldDeclarationError, match=r"Field `x`.*InputField or OutputField") as caught:

        class Forgotten(Signature):
            q: str = InputField()
            x: int

    assert isinstance(caught.value, TypeError)
    with pytest.raises(FieldDeclarationError, match="Field `x`"):

        class Plain(Signature):
            x: int = 3

    with pytest.raises(FieldDeclarationError, match="`x = 3`"):

        class Bare(Signature):
            x = 3

    with pytest.raises(FieldDeclarationError, match="must be declared with InputField or OutputField"):
        Signature({"q": (str, pydantic.Field())})
    with pytest.raises(UnknownTypeError, match=r"Nowhere.*field `q` of `Unresolved`"):

        class Unresolved(Signature):
            q: "list[Nowhere]" = InputField()  # noqa: F821

    with pytest.raises(FieldTypeError, match="not a type"):

        class Broken(Signature):
            q: "list[" = InputField()  # noqa: F722

    for wrong in ({3: (str, InputField())}, {"q": 3}, {"q": (str, 3)}, {"q": (str, InputField(), 1)}, 3, None):
        with pytest.raises(SignatureFormatError):
            make_signature(wrong)  # type: ignore[arg-type]
    with pytest.raises(FieldTypeError, match="Field `q`"):
        Signature({"q": (3, InputField())})


@pytest.mark.parametrize("index", [2, 5, -3, -9])
def test_an_index_outside_the_section_is_refused(index: int) -> None:
    with pytest.raises(FieldPositionError, match=f"Invalid index to insert: {index}") as caught:
        Signature("q -> a").insert(index, "z", InputField())
    assert (caught.value.index, caught.value.field) == (index, "z")


def test_updating_a_field_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(UnknownFieldError, match="no field `z`; it has `q`, `a`") as caught:
        Signature("q -> a").with_updated_fields("z", desc="x")
    assert isinstance(caught.value, KeyError)


def test_a_broken_state_is_refused() -> None:
    for state in ({}, {"instructions": "x"}, {"instructions": "x", "fields": [{"prefix": "p"}]}):
        with pytest.raises(SignatureFormatError, match="saved state"):
            Signature("q -> a").load_state(state)


def test_prefixes_are_inferred_as_dspy_infers_them(dspy: ModuleType) -> None:
    from dspy.signatures.signature import infer_prefix as theirs

    dice = random.Random(7)
    names = [
        "camelCaseText",
        "snake_case_text",
        "text2number",
        "HTMLParser",
        "some_HTMLText2Go",
        "x",
        "A1B2",
        "a__b",
        "getURL2JSONx",
    ]
    names += [
        "".join(dice.choices(string.ascii_letters + string.digits + "__", k=dice.randint(1, 14))) for _ in range(3000)
    ]
    for name in names:
        assert infer_prefix(name) == theirs(name), name


def test_the_same_derivations_give_the_same_signatures_as_in_dspy(dspy: ModuleType) -> None:
    def program(ns: Any) -> list[Any]:
        dice = random.Random(11)
        sig, seen = ns.Signature("a, b: int -> c, d: list[str]", "Start."), []
        for number in range(60):
            field = ns.InputField(desc=f"d{number}") if dice.random() < 0.5 else ns.OutputField()
            match dice.randrange(7):
                case 0:
                    sig = sig.append(f"f{number}", field, dice.choice([None, int, list[int]]))
                case 1:
                    sig = sig.prepend(f"f{number}", field)
                case 2:
                    sig = sig.insert(dice.choice([0, 1, -1, -2]), f"f{number}", field, float)
                case 3:
                    sig = sig.delete(dice.choice([*sig.fields, "nothing"])) if len(sig.fields) > 5 else sig
                case 4:
                    sig = sig.with_updated_fields(dice.choice(list(sig.fields)), desc=f"u{number}", type_=bool)
                case 5:
                    sig = sig.append_instructions(f"More {number}.")
                case _:
                    sig = sig.append(dice.choice(list(sig.fields)), field)  # replaces
            seen.append((repr(sig), sig.dump_state(), sig.equals(sig)))
        return seen

    import dspex.engine.signatures as ours

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydantic, of field names that shadow methods
        assert program(ours) == program(dspy)
