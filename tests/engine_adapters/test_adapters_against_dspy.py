"""Prompts equal to the byte and answers read equally, against the installed dspy, over the corpus."""

import json
import random
import warnings
from types import ModuleType
from typing import Any

import dspex.engine.adapters as ours
import dspex.engine.signatures as names
import pydantic
import pytest
from adapter_corpus import CASES, Case, Person

EACH_CASE = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
EACH_KIND = pytest.mark.parametrize("kind", ["ChatAdapter", "JSONAdapter"])


def both(case: Case, dspy: ModuleType) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # pydantic: a field of dspy's signature shadows a method of its model
        return case.make(names), case.make(dspy)


def outcome(function: Any, *args: Any) -> Any:
    """The value, or the class name of the error and its text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return function(*args)
    except Exception as error:
        return type(error).__name__, str(error)


def same(mine: Any, theirs: Any) -> bool:
    """Equal, of equal types all the way down, and in the same order."""
    return type(mine) is type(theirs) and repr(mine) == repr(theirs)


@EACH_CASE
def test_a_signature_has_the_fields_texts_and_repr_that_dspy_gives_it(case: Case, dspy: ModuleType) -> None:
    mine, theirs = both(case, dspy)
    assert repr(mine) == repr(theirs)
    assert mine.dump_state() == theirs.dump_state()
    assert mine.signature == theirs.signature
    assert list(mine.fields) == list(theirs.fields)
    assert list(mine.model_fields) == list(theirs.model_fields)
    for name, info in theirs.fields.items():
        assert mine.fields[name].json_schema_extra == info.json_schema_extra
        assert mine.fields[name].annotation == info.annotation
        assert mine.fields[name].is_required() == info.is_required()


@EACH_KIND
@EACH_CASE
def test_messages_equal_those_of_dspy_to_the_byte(case: Case, kind: str, dspy: ModuleType) -> None:
    mine, theirs = both(case, dspy)
    my_adapter, their_adapter = getattr(ours, kind)(), getattr(dspy, kind)()
    for demos in case.demos:
        for inputs in case.inputs:
            for _ in range(2):  # the second time from the compiled plan
                assert my_adapter.format(mine, demos, inputs) == their_adapter.format(theirs, demos, inputs)


@EACH_KIND
@EACH_CASE
def test_demos_may_be_examples(case: Case, kind: str, dspy: ModuleType) -> None:
    mine, theirs = both(case, dspy)
    my_adapter, their_adapter = getattr(ours, kind)(), getattr(dspy, kind)()
    for demos in case.demos:
        examples = [dspy.Example(**demo) for demo in demos]
        for _ in range(2):
            assert my_adapter.format_demos(mine, examples) == their_adapter.format_demos(theirs, examples)


def as_sections(values: dict[str, str]) -> list[str]:
    body = "\n\n".join(f"[[ ## {name} ## ]]\n{text}" for name, text in values.items())
    tight = "\n".join(f"[[ ## {name} ## ]] {text}" for name, text in values.items())
    return [
        f"{body}\n\n[[ ## completed ## ]]\n",
        f"Let me think.\n\n{body}",
        tight,
        f"{body}\n\n{body.upper()}",
        f"{body}\n\n[[ ## unknown ## ]]\nx\n\n{body}",
        body.replace("\n", "\r\n"),
        body.replace("[[", "["),
    ]


def as_json(values: dict[str, str]) -> list[str]:
    plain: dict[str, Any] = {}
    for name, text in values.items():
        try:
            plain[name] = json.loads(text)
        except ValueError:
            plain[name] = text
    good = json.dumps(plain, ensure_ascii=False)
    return [
        good,
        json.dumps(values),
        json.dumps({**plain, "extra": 1}, indent=2),
        f"```json\n{good}\n```",
        f"Here you are: {good} Anything else?",
        good[:-1],
        good.replace('"', "'"),
        f"[{good}]",
        f"{good}{good}",
        f"{{ {{ {good}",
    ]


ODD_ANSWERS = [
    "",
    " ",
    "nothing",
    "[[ ## ",
    "{}",
    "{",
    "}",
    "[]",
    "null",
    "3",
    '"text"',
    "[[ ## answer ## ]]",
    "\x00",
    "{'a': {'b': }}",
]


def answers(case: Case, kind: str) -> list[str]:
    write = as_sections if kind == "ChatAdapter" else as_json
    return [answer for values in case.outputs for answer in write(values)] + ODD_ANSWERS


@EACH_KIND
@EACH_CASE
def test_answers_are_read_as_dspy_reads_them(case: Case, kind: str, dspy: ModuleType) -> None:
    mine, theirs = both(case, dspy)
    my_adapter, their_adapter = getattr(ours, kind)(), getattr(dspy, kind)()
    for answer in answers(case, kind):
        mine_read, theirs_read = outcome(my_adapter.parse, mine, answer), outcome(their_adapter.parse, theirs, answer)
        assert same(mine_read, theirs_read), answer


@EACH_KIND
@EACH_CASE
def test_damaged_answers_are_read_as_dspy_reads_them(case: Case, kind: str, dspy: ModuleType) -> None:
    mine, theirs = both(case, dspy)
    my_adapter, their_adapter = getattr(ours, kind)(), getattr(dspy, kind)()
    dice = random.Random(f"{case.name} {kind}")
    originals = answers(case, kind)
    for _ in range(120):
        answer = dice.choice(originals)
        for _ in range(dice.randint(1, 3)):
            at, length = dice.randrange(len(answer) + 1), dice.randrange(1, 12)
            piece = dice.choice(
                ["", "\n", "{", "}", "[", '"', "'", ",", ":", "x", " ## ]]", "[[ ## ", "\\", "1", "null", "\u2028"]
            )
            answer = answer[:at] + piece + answer[at + (length if dice.random() < 0.6 else 0) :]
        if any("[[ ##" in line and not line.startswith("[[ ##") for line in answer.splitlines()):
            continue  # an indented header: see test_an_indented_header_leaves_no_brackets_in_the_value
        mine_read, theirs_read = outcome(my_adapter.parse, mine, answer), outcome(their_adapter.parse, theirs, answer)
        if isinstance(theirs_read, tuple) and theirs_read[0] in ("TypeError", "RecursionError"):
            assert mine_read[0] == "AdapterParseError", answer  # dspy lets these escape
        else:
            assert same(mine_read, theirs_read), answer


@EACH_CASE
def test_the_response_format_is_the_one_dspy_asks_for(case: Case, dspy: ModuleType) -> None:
    mine, theirs = both(case, dspy)
    their_adapter = dspy.JSONAdapter()

    class Model:
        model = "m"
        supports_function_calling = False

        def __init__(self, params: set[str], schema: bool) -> None:
            self.supported_params = params
            self.supports_response_schema = schema

    for params in ({"response_format"}, set()):
        for schema in (True, False):
            lm: Any = Model(params, schema)
            wanted: dict[str, Any] = {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                their_adapter._prepare_response_format(lm, wanted, theirs)
                got = ours.JSONAdapter()._request_options(lm, {}, mine)
            if isinstance(wanted.get("response_format"), type):
                assert got["response_format"].model_json_schema() == wanted["response_format"].model_json_schema()
                assert issubclass(got["response_format"], pydantic.BaseModel)
            else:
                assert got == wanted


def test_a_list_of_something_else_in_a_text_field_is_refused_by_both(dspy: ModuleType) -> None:
    mine, theirs = names.Signature("q -> a"), dspy.Signature("q -> a")
    with pytest.raises(TypeError):
        dspy.ChatAdapter().format(theirs, [], {"q": [1, 2]})
    with pytest.raises(ours.FieldValueError, match=r"Field `q` is a `str`.*list that holds a int") as caught:
        ours.ChatAdapter().format(mine, [], {"q": [1, 2]})
    assert caught.value.field == "q"
    assert isinstance(caught.value, TypeError)


def test_a_model_that_serializes_badly_is_shown_as_its_str_by_both(dspy: ModuleType) -> None:
    class Broken(Person):
        @pydantic.model_serializer()
        def broken(self) -> dict[str, Any]:
            raise RuntimeError("no")

    inputs = {"q": Broken(name="x")}
    mine = ours.ChatAdapter().format(names.Signature("q -> a"), [], inputs)
    assert mine == dspy.ChatAdapter().format(dspy.Signature("q -> a"), [], inputs)
    assert "name='x'" in mine[1]["content"]
