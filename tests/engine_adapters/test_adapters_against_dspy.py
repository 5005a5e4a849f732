"""Prompts equal to the byte and answers read equally, against the installed dspy, over both corpora."""

import json
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import dspex.engine.adapters as ours
import dspex.engine.signatures as names
import pydantic
import pytest
from adapter_corpus import CASES, Case, Person
from dspex.engine import DummyLM
from dspex.engine.adapters.xml_values import value_to_xml
from type_corpus import TYPED_CASES, TypedCase, dspys_namespace, our_namespace

KINDS = ["ChatAdapter", "JSONAdapter", "XMLAdapter", "BAMLAdapter", "TwoStepAdapter", "native Chat", "native JSON"]
READING_KINDS = KINDS[:4]


def constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def typed(case: Case | TypedCase) -> TypedCase:
    if isinstance(case, TypedCase):
        return case
    inputs = [constant(each) for each in case.inputs]
    return TypedCase(case.name, case.make, inputs, [constant(each) for each in case.demos], case.outputs)


ALL_CASES = [typed(case) for case in [*CASES, *TYPED_CASES]]
EACH_PLAIN_CASE = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
EACH_CASE = pytest.mark.parametrize("case", ALL_CASES, ids=[case.name for case in ALL_CASES])


@dataclass
class Pair:
    """Both engines: names for signatures and values, and the adapters of a kind."""

    mine: SimpleNamespace
    theirs: SimpleNamespace
    dspy: ModuleType
    _made: dict[str, Any] = field(default_factory=dict)

    def signatures(self, case: Case | TypedCase) -> tuple[Any, Any]:
        with quiet():
            return case.make(self.mine), case.make(self.theirs)

    def adapters(self, kind: str) -> tuple[Any, Any]:
        if kind not in self._made:
            self._made[kind] = self._adapters(kind)
        return self._made[kind]

    def _adapters(self, kind: str) -> tuple[Any, Any]:
        if kind == "TwoStepAdapter":
            return ours.TwoStepAdapter(DummyLM([])), self.dspy.TwoStepAdapter(self.dspy.utils.DummyLM([]))
        if kind.startswith("native"):
            name = f"{kind.split()[1]}Adapter"
            native = {"use_native_function_calling": True}
            return getattr(ours, name)(**native), getattr(self.dspy, name)(**native)
        if kind == "BAMLAdapter":
            from dspy.adapters.baml_adapter import BAMLAdapter

            return ours.BAMLAdapter(), BAMLAdapter()
        return getattr(ours, kind)(), getattr(self.dspy, kind)()


@pytest.fixture(scope="module")
def pair(dspy: ModuleType) -> Pair:
    return Pair(our_namespace(), dspys_namespace(dspy), dspy)


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # pydantic: a field of dspy's signature shadows a method of its model, a value is not of its field's type
        warnings.simplefilter("ignore", UserWarning)
        yield


def outcome(function: Any, *args: Any) -> Any:
    """The value, or the class name of the error and its text."""
    try:
        with quiet():
            return function(*args)
    except Exception as error:
        return type(error).__name__, str(error)


def same(mine: Any, theirs: Any) -> bool:
    """Equal, of equal types all the way down, and in the same order."""
    return type(mine) is type(theirs) and repr(mine) == repr(theirs)


@EACH_PLAIN_CASE
def test_a_signature_has_the_fields_texts_and_repr_that_dspy_gives_it(case: Case, pair: Pair) -> None:
    mine, theirs = pair.signatures(case)
    assert repr(mine) == repr(theirs)
    assert mine.dump_state() == theirs.dump_state()
    assert mine.signature == theirs.signature
    assert list(mine.fields) == list(theirs.fields)
    assert list(mine.model_fields) == list(theirs.model_fields)
    for name, info in theirs.fields.items():
        assert mine.fields[name].json_schema_extra == info.json_schema_extra
        assert mine.fields[name].annotation == info.annotation
        assert mine.fields[name].is_required() == info.is_required()


@pytest.mark.parametrize("kind", KINDS)
@EACH_CASE
def test_messages_equal_those_of_dspy_to_the_byte(case: TypedCase, kind: str, pair: Pair) -> None:
    if kind == "BAMLAdapter" and case.name in ("code", "reasoning"):
        pytest.skip("dspy shows the docstrings of its own types here, which are not ours")
    mine, theirs = pair.signatures(case)
    my_adapter, their_adapter = pair.adapters(kind)
    for demos in case.demos:
        for inputs in case.inputs:
            wanted = outcome(their_adapter.format, theirs, demos(pair.theirs), inputs(pair.theirs))
            for _ in range(2):  # the second time from the compiled plan
                assert outcome(my_adapter.format, mine, demos(pair.mine), inputs(pair.mine)) == wanted


@pytest.mark.parametrize("kind", KINDS)
@EACH_CASE
def test_demos_may_be_examples(case: TypedCase, kind: str, pair: Pair) -> None:
    mine, theirs = pair.signatures(case)
    my_adapter, their_adapter = pair.adapters(kind)
    for demos in case.demos:
        their_examples = [pair.dspy.Example(**demo) for demo in demos(pair.theirs)]
        examples = [pair.dspy.Example(**demo) for demo in demos(pair.mine)]
        with quiet():
            wanted = their_adapter.format_demos(theirs, their_examples)
        for _ in range(2):
            assert my_adapter.format_demos(mine, examples) == wanted


@EACH_CASE
def test_training_data_equals_that_of_dspy(case: TypedCase, pair: Pair) -> None:
    mine, theirs = pair.signatures(case)
    for kind in ("ChatAdapter", "XMLAdapter"):
        my_adapter, their_adapter = pair.adapters(kind)
        for demos in case.demos:
            for mine_demo, their_demo in zip(demos(pair.mine), demos(pair.theirs), strict=True):
                with quiet():
                    wanted = their_adapter.format_finetune_data(theirs, [], their_demo, their_demo)
                assert my_adapter.format_finetune_data(mine, [], mine_demo, mine_demo) == wanted
    for adapter in pair.adapters("JSONAdapter"):
        with pytest.raises(NotImplementedError):
            adapter.format_finetune_data(mine, [], {}, {})


# -- answers -----------------------------------------------------------------------------------------------------------


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
        body.replace("[[", "  [["),
        tight.replace("[[", "\t[["),
    ]


def loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_json(values: dict[str, str]) -> list[str]:
    plain: dict[str, Any] = {name: loaded(text) for name, text in values.items()}
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


def as_xml(values: dict[str, str]) -> list[str]:
    flat = "\n".join(f"<{name}>\n{text}\n</{name}>" for name, text in values.items())
    nested = "\n".join(value_to_xml(loaded(text), name) for name, text in values.items())
    return [
        flat,
        nested,
        f"Sure:\n\n{nested}\n\nDone.",
        f"{nested}\n{flat}",
        nested.replace("<item>", "<x>").replace("</item>", "</x>"),
        nested.replace("<item>", "").replace("</item>", ""),
        flat.replace("</", "< /"),
        f"<answer>{nested}</answer>",
        f"```xml\n{nested}\n```",
        nested.replace("><", "> <"),
        flat.replace(">\n", " a='b'>\n"),
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
    "<answer>",
    "<answer/>",
    "<a><b></a></b>",
    "&nbsp;",
    "<answer><![CDATA[x < y]]></answer>",
    "<!DOCTYPE x [<!ENTITY e 'x'>]><answer>&e;</answer>",
]
WRITE = {"ChatAdapter": as_sections, "XMLAdapter": as_xml, "JSONAdapter": as_json, "BAMLAdapter": as_json}
PIECES = ["", "\n", "{", "}", "[", '"', "'", ",", ":", "x", " ## ]]", "[[ ## ", "\\", "1", "null", "\u2028"]
XML_PIECES = ["<", ">", "</", "/>", "&", "<item>", "</item>", "<entry key='k'>", "&amp;", " "]


def answers(case: TypedCase, kind: str) -> list[str]:
    return [answer for values in case.outputs for answer in WRITE[kind](values)] + ODD_ANSWERS


def assert_read_equally(pair: Pair, case: TypedCase, kind: str, texts: list[str]) -> None:
    mine, theirs = pair.signatures(case)
    my_adapter, their_adapter = pair.adapters(kind)
    for answer in texts:
        mine_read, theirs_read = outcome(my_adapter.parse, mine, answer), outcome(their_adapter.parse, theirs, answer)
        if isinstance(theirs_read, tuple) and theirs_read[0] in ("TypeError", "RecursionError", "AttributeError"):
            assert mine_read[0] == "AdapterParseError", answer  # dspy lets these escape
        else:
            assert same(mine_read, theirs_read), answer


@pytest.mark.parametrize("kind", READING_KINDS)
@EACH_CASE
def test_answers_are_read_as_dspy_reads_them(case: TypedCase, kind: str, pair: Pair) -> None:
    assert_read_equally(pair, case, kind, answers(case, kind))


@pytest.mark.parametrize("kind", READING_KINDS)
@EACH_CASE
def test_damaged_answers_are_read_as_dspy_reads_them(case: TypedCase, kind: str, pair: Pair) -> None:
    dice = random.Random(f"{case.name} {kind}")
    originals = answers(case, kind)
    pieces = PIECES + XML_PIECES if kind == "XMLAdapter" else PIECES
    damaged: list[str] = []
    for _ in range(120 if kind == "ChatAdapter" else 60):
        answer = dice.choice(originals)
        for _ in range(dice.randint(1, 3)):
            at, length = dice.randrange(len(answer) + 1), dice.randrange(1, 12)
            answer = answer[:at] + dice.choice(pieces) + answer[at + (length if dice.random() < 0.6 else 0) :]
        damaged.append(answer)
    assert_read_equally(pair, case, kind, damaged)


# -- requests ----------------------------------------------------------------------------------------------------------


class Model:
    """What an adapter asks of a model before it calls it."""

    model_type = "chat"

    def __init__(self, params: set[str], *, schema: bool, model: str = "m", capable: bool = False, **kwargs: Any) -> None:
        self.supported_params = params
        self.supports_response_schema = schema
        self.supports_function_calling = self.supports_reasoning = capable
        self.model = model
        self.kwargs = kwargs


@EACH_CASE
def test_the_response_format_is_the_one_dspy_asks_for(case: TypedCase, pair: Pair) -> None:
    mine, theirs = pair.signatures(case)
    for native in (False, True):
        their_adapter = pair.dspy.JSONAdapter(use_native_function_calling=native)
        my_adapter = ours.JSONAdapter(use_native_function_calling=native)
        for params in ({"response_format"}, set[str]()):
            for schema in (True, False):
                lm: Any = Model(params, schema=schema)
                wanted: dict[str, Any] = {}
                got: dict[str, Any] = {}
                with quiet():
                    their_adapter._prepare_response_format(lm, wanted, theirs)
                    my_adapter._prepare_response_format(lm, got, mine)
                if isinstance(wanted.get("response_format"), type):
                    assert got["response_format"].__name__ == wanted["response_format"].__name__
                    assert without_docs(got["response_format"].model_json_schema()) == without_docs(
                        wanted["response_format"].model_json_schema()
                    )
                    assert issubclass(got["response_format"], pydantic.BaseModel)
                else:
                    assert got == wanted


def without_docs(schema: Any) -> Any:
    """A schema without the docstrings of dspy's own types, which are not ours."""
    if isinstance(schema, list):
        return [without_docs(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    skipped = {"description"} if schema.get("title") in ("Code", "Reasoning") else set[str]()
    return {key: without_docs(value) for key, value in schema.items() if key not in skipped}


NATIVE_SIGNATURES: list[Callable[[Any], Any]] = [
    lambda ns: {"q": (str, ns.InputField()), "a": (str, ns.OutputField())},
    lambda ns: {
        "q": (str, ns.InputField()),
        "tools": (list[ns.Tool], ns.InputField()),
        "calls": (ns.ToolCalls, ns.OutputField()),
    },
    lambda ns: {
        "t": (ns.Tool, ns.InputField()),
        "calls": (ns.ToolCalls, ns.OutputField()),
        "note": (str | None, ns.OutputField()),
    },
    lambda ns: {"q": (str, ns.InputField()), "calls": (ns.ToolCalls, ns.OutputField())},
    lambda ns: {
        "docs": (list[ns.Document], ns.InputField()),
        "reasoning": (ns.Reasoning, ns.OutputField()),
        "a": (str, ns.OutputField()),
        "cited": (ns.Citations, ns.OutputField()),
    },
    lambda ns: {"q": (str, ns.InputField()), "reasoning": (ns.Reasoning, ns.OutputField())},
]
CHAT_ANSWER = "[[ ## a ## ]]\nx\n\n[[ ## note ## ]]\nn\n\n[[ ## reasoning ## ]]\nthought\n\n[[ ## cited ## ]]\n[]"
CALL = {"id": "c1", "type": "function", "function": {"name": "t", "arguments": '{"a": 1'}}
CITED = {"cited_text": "x", "document_index": 0, "start_char_index": 0, "end_char_index": 1}
RESPONSES: list[Any] = [
    CHAT_ANSWER,
    "",
    {"text": CHAT_ANSWER, "logprobs": [1]},
    {"text": None, "tool_calls": [CALL]},
    {"text": CHAT_ANSWER, "tool_calls": [CALL, {"call_id": "c2", "id": "fc", "name": "u", "arguments": '{"b": [2]}'}]},
    {"text": "no sections", "tool_calls": [SimpleNamespace(id="c3", function=SimpleNamespace(name="t", arguments=None))]},
    {"text": CHAT_ANSWER, "reasoning_content": "native thought", "citations": [CITED]},
    {"text": None, "reasoning_content": "only a thought"},
    {"text": "x", "reasoning_content": "y"},
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"tools": [1], "tool_choice": "required", "parallel_tool_calls": True, "temperature": 1},
    {"reasoning_effort": "high"},
    {"reasoning_effort": None},
]


@pytest.mark.parametrize("native", [False, True], ids=["prompted", "native"])
@pytest.mark.parametrize("number", range(len(NATIVE_SIGNATURES)))
def test_what_the_model_does_itself_is_asked_for_and_read_as_dspy_does(number: int, native: bool, pair: Pair) -> None:
    make = NATIVE_SIGNATURES[number]
    mine, theirs = pair.mine.Signature(make(pair.mine)), pair.theirs.Signature(make(pair.theirs))
    options: dict[str, Any] = {"use_native_function_calling": native, "parallel_tool_calls": True}
    my_adapter, their_adapter = ours.ChatAdapter(**options), pair.dspy.ChatAdapter(**options)

    def do(a: int, b: str = "x") -> str:
        """Do it."""
        return b * a

    models = [
        Model(set(), schema=False, capable=capable, model=model, **kwargs)
        for capable in (True, False)
        for model in ("openai/gpt-4o", "openai/gpt-5-mini", "anthropic/claude")
        for kwargs in ({}, {"reasoning_effort": "medium"})
    ]
    for lm in models:
        for given in OPTIONS:
            my_options, their_options = dict(given), dict(given)
            my_inputs = {"tools": [pair.mine.Tool(do)], "t": pair.mine.Tool(do)}
            their_inputs = {"tools": [pair.theirs.Tool(do)], "t": pair.theirs.Tool(do)}
            my_asked = outcome(my_adapter._call_preprocess, lm, my_options, mine, my_inputs)
            their_asked = outcome(their_adapter._call_preprocess, lm, their_options, theirs, their_inputs)
            assert my_options == their_options
            if isinstance(their_asked, tuple):
                assert my_asked == their_asked
                continue
            assert my_asked.signature == their_asked.signature
            for response in RESPONSES:
                my_values = outcome(my_adapter._call_postprocess, my_asked, mine, [response], lm, my_options)
                their_values = outcome(their_adapter._call_postprocess, their_asked, theirs, [response], lm, their_options)
                assert same(my_values, their_values), response


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
