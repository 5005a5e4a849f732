"""Tools: what is read from a function, what a call accepts, and its errors, against the installed dspy."""

import json
import random
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from tool_corpus import FUNCTIONS, VALUES, fetch, plain

NAMES = [getattr(function, "__name__", type(function).__name__) for function in FUNCTIONS]
EACH_FUNCTION = pytest.mark.parametrize("function", FUNCTIONS, ids=NAMES)


def outcome(function: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dspy leaves coroutines that it refuses un-awaited
            return repr(function(*args, **kwargs))
    except Exception as error:
        return type(error).__name__, str(error)


@EACH_FUNCTION
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "named", "desc": "Described."},
        {"arg_desc": {"a": "the first", "url": "an address", "nobody": "x"}},
        {"args": {"a": {"type": "string"}}, "arg_types": {"a": str}},
        {"name": "", "desc": ""},
    ],
    ids=["as it is", "named", "described", "typed", "empty"],
)
def test_a_tool_is_described_as_dspy_describes_it(
    function: Any, options: Any, ours: SimpleNamespace, theirs: SimpleNamespace
) -> None:
    def shown(ns: SimpleNamespace) -> Any:
        tool = ns.Tool(function, **options)
        call = json.dumps(tool.format_as_litellm_function_call(), default=repr)
        texts = [str(tool), repr(tool), tool.format(), call, tool.name, tool.desc, tool.args]
        return [*texts, tool.arg_types, tool.arg_desc, tool.has_kwargs, tool.func is function]

    assert outcome(shown, ours) == outcome(shown, theirs)


@EACH_FUNCTION
def test_a_call_is_checked_and_converted_as_dspy_does(
    function: Any, ours: SimpleNamespace, theirs: SimpleNamespace
) -> None:
    mine, other = ours.Tool(function), theirs.Tool(function)
    names = list(other.args)
    calls: list[dict[str, Any]] = [{}, {"unknown": 1}]
    for name in names:
        calls += [{name: value} for value in VALUES]
    dice = random.Random(mine.name)
    calls += [{name: dice.choice(VALUES) for name in names} for _ in range(25)]
    calls += [{**dict.fromkeys(names, 1), "more": value} for value in VALUES[:4]]
    for call in calls:
        checked = outcome(other._validate_and_parse_args, **call)
        for _ in range(2):  # the second time from what was compiled
            assert outcome(mine._checked, call) == checked, call
        if function is not fetch and not isinstance(checked, tuple):
            assert outcome(mine, **call) == outcome(function, **mine._checked(call)), call
    assert outcome(mine, **{names[0]: 1} if names else {}) == outcome(other, **{names[0]: 1} if names else {})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 3, "maximum": 5},
        {"type": "string", "pattern": "^a+$", "minLength": 2},
        {"type": "string", "enum": ["a", "m"]},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        {"type": "array"},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "array"}, {"type": "null"}]}}, "required": ["a"]},
        {"type": "object", "additionalProperties": False, "properties": {"name": {}}},
        {"type": "object", "additionalProperties": {"type": "array"}},
        {"type": ["string", "null"]},
        {"type": "number"},
        {"type": "boolean", "default": True},
        {"type": "null"},
        {"type": "Any"},
        {"anyOf": [{"type": "string"}]},
        {"type": "nonsense"},
        {"type": "integer", "minimum": "x"},
        {},
    ],
    ids=repr,
)
def test_any_json_schema_is_obeyed_as_dspy_obeys_it(schema: Any, ours: SimpleNamespace, theirs: SimpleNamespace) -> None:
    def anything(**kwargs: Any) -> Any:
        return kwargs

    mine, other = (ns.Tool(anything, args={"x": schema}, arg_types={}) for ns in (ours, theirs))
    for value in VALUES:
        assert outcome(mine, x=value) == outcome(other, x=value), value


def test_a_schema_that_is_replaced_counts_from_the_next_call(ours: SimpleNamespace) -> None:
    tool = ours.Tool(plain)
    assert tool(a=1, b="x", c=[]) == "1x[]"
    tool.args["a"] = {"type": "string"}
    tool.arg_types["a"] = str
    assert tool(a="1", b="x", c=[]) == "1x[]"
    with pytest.raises(ValueError, match="Arg a is invalid: 1 is not of type 'string'"):
        tool(a=1, b="x", c=[])


SCHEMAS: list[dict[str, Any]] = [
    {},
    {"properties": {}},
    {"properties": {"a": {"type": "string", "description": "d"}, "b": {"type": "array"}, "c": {}}, "required": ["a"]},
    {
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "integer"}}}},
        "properties": {"p": {"$ref": "#/$defs/P"}, "q": {"type": "array", "items": {"$ref": "#/$defs/P"}}},
    },
    {"properties": {"u": {"type": "odd"}, "n": {"anyOf": [{"type": "null"}]}}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_the_schema_of_a_foreign_tool_is_read_as_dspy_reads_it(schema: Any, theirs: SimpleNamespace) -> None:
    from dspex.engine.types.tool import convert_input_schema_to_tool_args as mine
    from dspy.adapters.types.tool import convert_input_schema_to_tool_args as other

    assert outcome(mine, schema) == outcome(other, schema)


def add(a: int, b: int = 1) -> int:
    return a + b


def broken(**_: Any) -> None:
    raise OSError("disk")


@pytest.mark.parametrize(
    "call",
    [
        {"name": "add", "args": {"a": 1}},
        {"name": "add", "args": {}},
        {"name": "broken", "args": {}},
        {"name": "no", "args": {}},
    ],
    ids=repr,
)
def test_a_call_runs_what_it_names_as_dspy_does(call: Any, ours: SimpleNamespace, theirs: SimpleNamespace) -> None:
    def run(ns: SimpleNamespace, functions: Any) -> Any:
        return ns.ToolCalls.ToolCall(**call).execute(functions(ns))

    for functions in (
        lambda ns: {"add": add, "broken": broken},
        lambda ns: {"add": ns.Tool(add)},
        lambda ns: [ns.Tool(add), ns.Tool(broken)],
        lambda ns: [],
        lambda ns: None,
    ):
        assert outcome(run, ours, functions) == outcome(run, theirs, functions)


def test_without_functions_a_call_looks_where_it_is_executed(ours: SimpleNamespace) -> None:
    def local(x: int) -> int:
        return x * 2

    assert local(1) == 2
    assert ours.ToolCalls.ToolCall(name="local", args={"x": 4}).execute() == 8
    assert ours.ToolCalls.ToolCall(name="add", args={"a": 4}).execute() == 5
