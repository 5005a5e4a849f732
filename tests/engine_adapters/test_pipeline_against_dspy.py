"""Whole calls through an adapter: what is asked, how often, what comes out, who is told, against the installed dspy."""

import warnings
from types import ModuleType
from typing import Any

import dspex.engine as engine
import dspex.engine.adapters as ours
import pytest
from scripted_model import ScriptedModel

SIGNATURE = "question, context: list[str] -> answer: str, score: float"
INPUTS = {"question": "?", "context": ["a"]}
DEMOS = [{"question": "1", "context": [], "answer": "2", "score": 0.5}, {"question": "x", "answer": "y"}]
CHAT = "[[ ## answer ## ]]\nParis\n\n[[ ## score ## ]]\n0.9\n\n[[ ## completed ## ]]"
JSON = '{"answer": "Paris", "score": 0.9}'
XML = "<answer>Paris</answer><score>0.9</score>"
SCRIPTS: list[list[Any]] = [
    [CHAT],
    [JSON],
    [XML],
    ["no", JSON],
    ["no", CHAT],
    ["no", "neither"],
    [{"text": CHAT, "logprobs": {"a": 1}}],
    [[CHAT, CHAT.replace("Paris", "Rome")]],
    [[CHAT, "no"], [JSON, JSON]],
    ["", JSON],
    [{"text": None}, JSON],
    [ConnectionError("down"), JSON],
    ["[[ ## answer ## ]]\nx\n[[ ## score ## ]]\nhigh", '{"answer": "x", "score": "high"}'],
]
OPTIONS: list[dict[str, Any]] = [{}, {"temperature": 0.5, "tools": [1], "n": 2}]


def adapters(dspy: ModuleType, kind: str) -> tuple[Any, Any]:
    if kind == "BAMLAdapter":
        from dspy.adapters.baml_adapter import BAMLAdapter

        return ours.BAMLAdapter(), BAMLAdapter()
    return getattr(ours, kind)(), getattr(dspy, kind)()


def outcome(function: Any, *args: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return function(*args)
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("kind", ["ChatAdapter", "JSONAdapter", "XMLAdapter", "BAMLAdapter"])
@pytest.mark.parametrize("schema", [True, False], ids=["schema", "no schema"])
def test_a_call_asks_and_answers_as_dspy_does(kind: str, schema: bool, dspy: ModuleType) -> None:
    mine, theirs = engine.Signature(SIGNATURE), dspy.Signature(SIGNATURE)
    for script in SCRIPTS:
        for options in OPTIONS:
            my_model, their_model = ScriptedModel(*script, schema=schema), ScriptedModel(*script, schema=schema)
            my_adapter, their_adapter = adapters(dspy, kind)
            got = outcome(my_adapter, my_model, dict(options), mine, DEMOS, INPUTS)
            wanted = outcome(their_adapter, their_model, dict(options), theirs, DEMOS, INPUTS)
            assert got == wanted
            assert my_model.requests() == their_model.requests()


@pytest.mark.parametrize(
    ("main", "second"),
    [
        (["It is Paris, surely 0.9."], [CHAT]),
        (["It is Paris."], ["no", JSON]),
        (["It is Paris."], ["no", "neither"]),
        ([["one", "two"]], [CHAT, CHAT.replace("Paris", "Rome")]),
        ([{"text": "three", "logprobs": [1]}], [CHAT]),
        ([""], [CHAT]),
        ([{"text": None, "tool_calls": [1]}], [CHAT]),
        ([ConnectionError("down")], [CHAT]),
        (["x"], [ConnectionError("down")]),
    ],
)
def test_a_call_in_two_steps_asks_both_models_as_dspy_does(main: Any, second: Any, dspy: ModuleType) -> None:
    mine, theirs = engine.Signature(SIGNATURE, "Answer."), dspy.Signature(SIGNATURE, "Answer.")
    my_models = ScriptedModel(*main), ScriptedModel(*second)
    their_models = ScriptedModel(*main), ScriptedModel(*second)
    my_adapter, their_adapter = ours.TwoStepAdapter(my_models[1]), dspy.TwoStepAdapter(dspy.utils.DummyLM([]))
    their_adapter.extraction_model = their_models[1]
    options = {"temperature": 1, "tools": [1]}
    got = outcome(my_adapter, my_models[0], dict(options), mine, DEMOS, INPUTS)
    assert got == outcome(their_adapter, their_models[0], dict(options), theirs, DEMOS, INPUTS)
    for my_model, their_model in zip(my_models, their_models, strict=True):
        assert my_model.requests() == their_model.requests()


def test_two_steps_read_an_answer_from_synchronous_code_too(dspy: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"extraction_model must be an instance of dspy\.BaseLM"):
        ours.TwoStepAdapter("openai/gpt-4o")  # pyright: ignore[reportArgumentType]
    adapter = ours.TwoStepAdapter(ScriptedModel(CHAT, "no", "no"))
    signature = engine.Signature(SIGNATURE)
    assert adapter.parse(signature, "It is Paris.") == {"answer": "Paris", "score": 0.9}
    with pytest.raises(ours.AdapterParseError, match="Failed to parse response from the original completion"):
        adapter.parse(signature, "It is Paris.")
    assert adapter.statistics().parse_failures == 1


def listener(base: Any, heard: list[Any]) -> Any:
    class Listener(base):
        def on_adapter_format_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            heard.append(("format", type(instance).__name__))

        def on_adapter_format_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            heard.append(("formatted", outputs and [each["role"] for each in outputs], type(exception).__name__))

        def on_adapter_parse_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            heard.append(("parse", type(instance).__name__))

        def on_adapter_parse_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            heard.append(("parsed", outputs, type(exception).__name__))

    return Listener()


@pytest.mark.parametrize("kind", ["ChatAdapter", "JSONAdapter", "XMLAdapter", "BAMLAdapter"])
def test_callbacks_hear_of_format_and_parse_as_from_dspy(kind: str, dspy: ModuleType) -> None:
    mine, theirs = engine.Signature(SIGNATURE), dspy.Signature(SIGNATURE)
    my_adapter, their_adapter = adapters(dspy, kind)
    for answer in (CHAT, JSON, XML, "no"):
        my_heard: list[Any] = []
        their_heard: list[Any] = []
        my_adapter.callbacks = [listener(engine.BaseCallback, my_heard)]
        their_adapter.callbacks = [listener(dspy.utils.BaseCallback, their_heard)]
        outcome(my_adapter, ScriptedModel(answer, JSON), {}, mine, [], INPUTS)
        outcome(their_adapter, ScriptedModel(answer, JSON), {}, theirs, [], INPUTS)
        assert my_heard == their_heard
        assert my_heard


def test_callbacks_get_the_arguments_by_name(dspy: ModuleType) -> None:
    def of_chat(base: Any, adapter: Any, signature: Any) -> list[Any]:
        heard: list[Any] = []

        class Arguments(base):
            def on_adapter_format_start(self, call_id: str, instance: Any, inputs: Any) -> None:
                heard.append({**inputs, "signature": inputs["signature"].signature})

            on_adapter_parse_start = on_adapter_format_start

        adapter.callbacks = [Arguments()]
        adapter(ScriptedModel(CHAT), {}, signature, DEMOS, INPUTS)
        return heard

    mine = of_chat(engine.BaseCallback, ours.ChatAdapter(), engine.Signature(SIGNATURE))
    assert mine == of_chat(dspy.utils.BaseCallback, dspy.ChatAdapter(), dspy.Signature(SIGNATURE))
    assert [sorted(each) for each in mine] == [["demos", "inputs", "signature"], ["completion", "signature"]]


def test_a_users_adapter_is_written_and_read_as_with_dspy(dspy: ModuleType) -> None:
    def build(base: Any, parse_error: Any) -> Any:
        class Lines(base):
            def format_field_description(self, signature: Any) -> str:
                return " ".join(f"{name}:{info.json_schema_extra['desc']}" for name, info in signature.fields.items())

            def format_field_structure(self, signature: Any) -> str:
                return "name=value"

            def format_task_description(self, signature: Any) -> str:
                return signature.instructions

            def format_user_message_content(
                self, signature: Any, inputs: Any, prefix: str = "", suffix: str = "", main_request: bool = False
            ) -> str:
                lines = [f"{name}={inputs[name]}" for name in signature.input_fields if name in inputs]
                return "\n".join([prefix, *lines, suffix, "main" if main_request else "demo"])

            def format_assistant_message_content(
                self, signature: Any, outputs: Any, missing_field_message: str | None = None
            ) -> str:
                return "\n".join(f"{name}={outputs.get(name, missing_field_message)}" for name in signature.output_fields)

            def parse(self, signature: Any, completion: str) -> dict[str, Any]:
                read = dict(line.split("=", 1) for line in completion.splitlines() if "=" in line)
                if not read:
                    raise parse_error(adapter_name="Lines", signature=signature, lm_response=completion)
                return read

        return Lines()

    mine, theirs = engine.Signature(SIGNATURE), dspy.Signature(SIGNATURE)
    my_adapter = build(ours.Adapter, ours.AdapterParseError)
    their_adapter = build(dspy.Adapter, dspy.AdapterParseError)
    assert my_adapter.format(mine, DEMOS, INPUTS) == their_adapter.format(theirs, DEMOS, INPUTS)
    for answer in ("answer=1\nscore=2\nmore=3", "score=2", "nothing", ""):
        my_model, their_model = ScriptedModel(answer), ScriptedModel(answer)
        got = outcome(my_adapter, my_model, {}, mine, DEMOS, INPUTS)
        assert got == outcome(their_adapter, their_model, {}, theirs, DEMOS, INPUTS)
        assert my_model.asked == their_model.asked


def test_what_writes_a_value_can_be_replaced_as_with_dspy(dspy: ModuleType) -> None:
    def chat(base: Any) -> Any:
        class Loud(base):
            def format_field_with_value(self, fields_with_values: Any) -> str:
                return "|".join(f"{key.name}:{value!s}".upper() for key, value in fields_with_values.items())

        return Loud()

    def json_(base: Any) -> Any:
        class Loud(base):
            def format_field_with_value(self, fields_with_values: Any, role: str = "user") -> str:
                return role + "|".join(f"{key.name}:{value!s}" for key, value in fields_with_values.items())

        return Loud()

    mine, theirs = engine.Signature(SIGNATURE), dspy.Signature(SIGNATURE)
    for make, kind in ((chat, "ChatAdapter"), (chat, "XMLAdapter"), (json_, "JSONAdapter")):
        my_adapter, their_adapter = make(getattr(ours, kind)), make(getattr(dspy, kind))
        assert my_adapter.format(mine, DEMOS, INPUTS) == their_adapter.format(theirs, DEMOS, INPUTS)


def test_what_writes_a_value_can_be_called(dspy: ModuleType) -> None:
    from dspy.adapters.chat_adapter import FieldInfoWithName

    text = "a: str, b: list[int] -> c: str, d: list[str]"
    mine, theirs = engine.Signature(text), dspy.Signature(text)
    values = {"a": ["x", "y"], "b": [1], "c": "<&>", "d": ["<"]}
    mine_given = {ours.FieldInfoWithName(name, info): values[name] for name, info in mine.fields.items()}
    theirs_given = {FieldInfoWithName(name, info): values[name] for name, info in theirs.fields.items()}
    for kind in ("ChatAdapter", "XMLAdapter", "JSONAdapter"):
        my_adapter, their_adapter = adapters(dspy, kind)
        for more in ({}, {"role": "assistant"}) if kind == "JSONAdapter" else ({},):
            got = my_adapter.format_field_with_value(mine_given, **more)
            assert got == their_adapter.format_field_with_value(theirs_given, **more)


def test_the_adapters_are_related_as_in_dspy(dspy: ModuleType) -> None:
    names = ["Adapter", "ChatAdapter", "JSONAdapter", "XMLAdapter", "TwoStepAdapter"]
    for child in names:
        for parent in names:
            related = issubclass(getattr(dspy, child), getattr(dspy, parent))
            assert issubclass(getattr(ours, child), getattr(ours, parent)) == related
    assert issubclass(ours.BAMLAdapter, ours.JSONAdapter)
    for kind in names[:-1]:
        mine, theirs = vars(getattr(ours, kind)()), vars(getattr(dspy, kind)())
        assert {key for key in theirs if key != "native_response_types"} <= set(mine)
        assert {key: mine[key] for key in theirs if key != "native_response_types"} == {
            key: value for key, value in theirs.items() if key != "native_response_types"
        }
        assert [each.__name__ for each in mine["native_response_types"]] == [
            each.__name__ for each in theirs["native_response_types"]
        ]


@pytest.mark.parametrize(
    "method",
    [
        ("format_field_description", 1),
        ("format_field_structure", 1),
        ("format_task_description", 1),
        ("format_user_message_content", 2),
        ("format_assistant_message_content", 2),
        ("parse", 2),
    ],
    ids=lambda each: each[0],
)
def test_the_base_leaves_the_same_methods_open(method: tuple[str, int], dspy: ModuleType) -> None:
    name, count = method
    for adapter in (ours.Adapter(), dspy.Adapter()):
        with pytest.raises(NotImplementedError):
            getattr(adapter, name)(*[None] * count)
