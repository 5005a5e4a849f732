"""Tools at work: off the loop, cancellable, all calls of a turn at once, told to callbacks, from other frameworks."""

import contextvars
import copy
import pickle
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pydantic
import pytest
from dspex.engine.callbacks import BaseCallback
from dspex.engine.settings import settings
from dspex.engine.types import Tool, ToolCalls
from tool_corpus import plain

somewhere = contextvars.ContextVar("somewhere", default="outside")


def slow(gate: threading.Event) -> Any:
    def wait(x: int) -> int:
        gate.wait(20)
        return x

    return wait


async def fetch(url: str) -> str:
    await anyio.lowlevel.checkpoint()
    return f"<{url}>"


@pytest.mark.anyio
async def test_a_plain_function_runs_off_the_loop_with_the_callers_context() -> None:
    def where() -> list[Any]:
        return [threading.get_ident(), somewhere.get(), settings.num_threads]

    somewhere.set("inside")
    with settings.context(num_threads=3):
        ident, context, threads = await Tool(where).acall()
    assert (ident != threading.get_ident(), context, threads) == (True, "inside", 3)


@pytest.mark.anyio
async def test_an_async_function_runs_here() -> None:
    async def where() -> int:
        return threading.get_ident()

    class Service:
        async def __call__(self, x: int) -> int:
            return threading.get_ident() + 0 * x

    assert await Tool(where).acall() == threading.get_ident()
    assert await Tool(Service()).acall(x=1) == threading.get_ident()
    assert await Tool(lambda: fetch("late")).acall() == "<late>"


@pytest.mark.anyio
async def test_cancelling_frees_the_caller_of_a_function_that_hangs() -> None:
    gate = threading.Event()
    try:
        with anyio.move_on_after(0.05) as scope:
            await Tool(slow(gate)).acall(x=1)
        assert scope.cancelled_caught
    finally:
        gate.set()


@pytest.mark.anyio
async def test_tools_that_hang_leave_threads_for_others() -> None:
    gate = threading.Event()
    tool = Tool(slow(gate))
    try:
        with anyio.move_on_after(0.2):
            async with anyio.create_task_group() as group:
                for n in range(50):  # more than anyio's own threads
                    group.start_soon(partial(tool.acall, x=n))
        assert await Tool(plain).acall(a=1, b="x", c=[]) == "1x[]"
        assert await anyio.to_thread.run_sync(lambda: "the program's own") == "the program's own"
    finally:
        gate.set()


@pytest.mark.anyio
async def test_cancelling_reaches_an_async_function() -> None:
    reached: list[str] = []

    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            reached.append("cancelled")

    with anyio.move_on_after(0.05):
        await Tool(endless).acall()
    assert reached == ["cancelled"]


def test_a_synchronous_call_of_an_async_function_needs_the_setting() -> None:
    with pytest.raises(ValueError, match="allow_tool_async_sync_conversion=True") as mine:
        Tool(fetch)(url="x")
    assert "You are calling `__call__` on an async tool, please use `acall` instead" in str(mine.value)
    with settings.context(allow_tool_async_sync_conversion=True):
        assert Tool(fetch)(url="x") == "<x>"


@pytest.mark.anyio
async def test_even_with_the_setting_it_is_refused_on_a_loop() -> None:
    with (
        settings.context(allow_tool_async_sync_conversion=True),
        pytest.raises(ValueError, match=r"await tool\.acall\(\.\.\.\)"),
    ):
        Tool(fetch)(url="x")


@pytest.mark.anyio
async def test_the_calls_of_a_turn_run_at_once_and_answer_in_order() -> None:
    everyone = threading.Barrier(3)

    def meet(name: str) -> str:
        everyone.wait(20)  # passes only when all three are running
        return name

    async def read(url: str) -> str:
        return f"<{url}>"

    calls = ToolCalls.from_dict_list([{"id": n, "name": "meet", "args": {"name": n}} for n in "abc"])
    results = await calls.aexecute([Tool(meet), Tool(read)])
    assert [(each.call_id, each.name, each.value, each.is_error) for each in results.tool_call_results] == [
        (n, "meet", n, False) for n in "abc"
    ]
    again = await ToolCalls.from_dict_list([{"name": "read", "args": {"url": "x"}}]).aexecute({"read": read})
    assert again.tool_call_results[0].value == "<x>"


def test_the_calls_of_a_turn_run_at_once_from_synchronous_code_too() -> None:
    everyone = threading.Barrier(2)
    calls = ToolCalls.from_dict_list([{"name": "meet", "args": {}}] * 2)
    results = calls.execute({"meet": lambda: everyone.wait(20)})
    assert sorted(each.value for each in results.tool_call_results) == [0, 1]


@pytest.mark.anyio
async def test_a_call_that_fails_stops_no_other() -> None:
    def fail(x: int) -> None:
        raise KeyError("gone")

    calls = ToolCalls.from_dict_list(
        [
            {"name": "fail", "args": {"x": 1}},
            {"name": "plain", "args": {"a": 1, "b": "x", "c": []}},
            {"name": "plain", "args": {"a": "one"}},
            {"name": "nobody", "args": {}},
        ]
    )
    results = (await calls.aexecute([Tool(fail), Tool(plain)])).tool_call_results
    assert [each.is_error for each in results] == [True, False, True, True]
    assert results[0].value == "Error executing tool 'fail': 'gone'"
    assert results[1].value == "1x[]"
    assert "Arg a is invalid: 'one' is not of type 'integer'" in results[2].value
    assert "Tool function 'nobody' not found" in results[3].value
    told = await calls.aexecute(
        {"fail": fail, "plain": plain}, describe_error=lambda call, error: (call.name, type(error.__cause__).__name__)
    )
    assert told.tool_call_results[0].value == ("fail", "KeyError")


@pytest.mark.anyio
async def test_cancelling_a_turn_cancels_all_its_calls() -> None:
    ended: list[int] = []

    async def endless(n: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(n)

    calls = ToolCalls.from_dict_list([{"name": "endless", "args": {"n": n}} for n in range(3)])
    with anyio.move_on_after(0.05):
        await calls.aexecute([Tool(endless)])
    assert sorted(ended) == [0, 1, 2]


@pytest.mark.anyio
async def test_callbacks_hear_of_a_tool_and_of_its_end() -> None:
    heard: list[Any] = []

    class Listener(BaseCallback):
        def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            heard.append((call_id, instance.name, inputs))

        def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
            heard.append((call_id, outputs, type(exception)))

    tool = Tool(plain)
    with settings.context(callbacks=[Listener()]):
        await tool.acall(a=1, b="x", c=[])
        with pytest.raises(ValueError, match="is not in the tool's args"):
            await tool.acall(z=1)
    ids = [each[0] for each in heard]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert [each[1:] for each in heard] == [
        ("plain", {"kwargs": {"a": 1, "b": "x", "c": []}}),
        ("1x[]", type(None)),
        ("plain", {"kwargs": {"z": 1}}),
        (None, ValueError),
    ]


def test_a_used_tool_is_copied_compared_and_pickled_as_a_new_one() -> None:
    tool = Tool(plain)
    tool(a=1, b="x", c=["y"])
    assert tool == Tool(plain)
    for other in (copy.deepcopy(tool), tool.model_copy(), pickle.loads(pickle.dumps(tool))):
        assert other == tool
        assert other(a=1, b="x", c=["y"]) == "1x['y']"


# -- other frameworks --------------------------------------------------------------------------------------------------


class Session:
    """What the MCP SDK calls a session or a client: answers as told."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.called: list[Any] = []

    async def call_tool(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        self.called.append((name, arguments))
        return self.result


def text(value: str) -> SimpleNamespace:
    return SimpleNamespace(type="text", text=value)


IMAGE = SimpleNamespace(type="image", data="x")
SCHEMA = {"properties": {"a": {"type": "integer", "description": "first"}}, "required": ["a"]}


def mcp_tool(**more: Any) -> SimpleNamespace:
    return SimpleNamespace(name="adder", description="Adds.", inputSchema=SCHEMA, **more)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content", "mode", "more", "value"),
    [
        ([text("3")], "text", {}, "3"),
        ([text("3"), text("4")], "text", {}, ["3", "4"]),
        ([text("3"), IMAGE], "text", {"structuredContent": {"x": 1}}, "3"),
        ([IMAGE], "text", {}, [IMAGE]),
        ([], "text", {}, []),
        ([text("3")], "structured", {"structuredContent": {"x": 1}}, {"x": 1}),
        ([text("3")], "structured", {"structured_content": None}, None),
        ([text("3")], "structured", {}, "3"),
        ([text("3")], "structured", {"structuredContent": None, "model_fields_set": {"content"}}, "3"),
    ],
)
async def test_an_mcp_tool_is_called_through_its_session(content: Any, mode: Any, more: Any, value: Any) -> None:
    session = Session(SimpleNamespace(content=content, isError=False, **more))
    tool = Tool.from_mcp_tool(session, mcp_tool(), result_mode=mode)
    assert (tool.name, tool.desc, tool.args) == ("adder", "Adds.", SCHEMA["properties"])
    assert (tool.arg_types, tool.arg_desc) == ({"a": int}, {"a": "first (Required)"})
    assert await tool.acall(a=3) == value
    assert session.called == [("adder", {"a": 3})]


@pytest.mark.anyio
async def test_an_error_of_an_mcp_tool_is_raised_and_its_arguments_are_checked() -> None:
    tool = Tool.from_mcp_tool(Session(SimpleNamespace(content=[text("no")], is_error=True)), mcp_tool())
    with pytest.raises(RuntimeError, match="Failed to call a MCP tool: no"):
        await tool.acall(a=1)
    with pytest.raises(ValueError, match="Arg a is invalid"):
        await tool.acall(a="x")
    with pytest.raises(ValueError, match="Unsupported MCP result mode: 'raw'"):
        Tool.from_mcp_tool(Session(None), mcp_tool(), result_mode="raw")  # pyright: ignore[reportArgumentType]


@pytest.mark.anyio
async def test_a_tool_of_the_real_mcp_package_converts() -> None:
    types = pytest.importorskip("mcp.types", reason="needs the package mcp")
    described = types.Tool.model_validate({"name": "adder", "description": "Adds.", "inputSchema": SCHEMA})
    answer = {"content": [{"type": "text", "text": "3"}], "structuredContent": {"sum": 3}}
    session = Session(types.CallToolResult.model_validate(answer))
    assert await Tool.from_mcp_tool(session, described).acall(a=3) == "3"
    assert await Tool.from_mcp_tool(session, described, result_mode="structured").acall(a=3) == {"sum": 3}
    plain_answer = Session(types.CallToolResult.model_validate({"content": answer["content"]}))
    assert await Tool.from_mcp_tool(plain_answer, described, result_mode="structured").acall(a=3) == "3"
    failed = Session(types.CallToolResult.model_validate({"content": answer["content"], "isError": True}))
    with pytest.raises(RuntimeError, match="Failed to call a MCP tool: 3"):
        await Tool.from_mcp_tool(failed, described).acall(a=3)


class LangChainTool:
    """A LangChain tool as `from_langchain` sees it."""

    name, description = "times", "Multiplies."

    class args_schema(pydantic.BaseModel):  # LangChain's name
        x: int
        y: float = 2.0

    async def ainvoke(self, arguments: dict[str, Any]) -> Any:
        if arguments["x"] == 0:
            raise OSError("zero")
        return arguments["x"] * arguments.get("y", 2.0)


@pytest.mark.anyio
async def test_a_langchain_tool_is_invoked() -> None:
    tool = Tool.from_langchain(LangChainTool())
    assert (tool.name, tool.desc, tool.arg_types) == ("times", "Multiplies.", {"x": int, "y": float})
    assert await tool.acall(x=3) == 6.0
    with pytest.raises(ValueError, match="Arg x is invalid"):
        await tool.acall(x="3")
    with pytest.raises(RuntimeError, match="Failed to call LangChain tool times: zero"):
        await tool.acall(x=0)


def test_a_langchain_tool_converts_as_dspy_converts_it(theirs: SimpleNamespace) -> None:
    mine, other = Tool.from_langchain(LangChainTool()), theirs.Tool.from_langchain(LangChainTool())
    assert (str(mine), mine.args, mine.arg_types, mine.arg_desc) == (
        str(other),
        other.args,
        other.arg_types,
        other.arg_desc,
    )


@pytest.mark.anyio
async def test_a_tool_of_the_real_langchain_package_converts(anyio_backend: str) -> None:
    tools = pytest.importorskip("langchain_core.tools", reason="needs the package langchain-core")
    if anyio_backend == "trio":
        pytest.skip("langchain-core runs on asyncio alone")

    @tools.tool
    def times(x: int, y: float = 2.0) -> float:
        """Multiplies."""
        return x * y

    tool = Tool.from_langchain(times)
    assert (tool.name, tool.desc, list(tool.args or {})) == ("times", "Multiplies.", ["x", "y"])
    assert await tool.acall(x=3, y=1.5) == 4.5
