"""`ReActV2`: an agent on the model's own tool calling.

    agent = ReActV2("question -> answer", tools=[search, fetch])
    pred = await agent.acall(question="...")
    pred.answer, pred.history, pred.termination_reason

The conversation is a `History` that grows by one event a turn; the tool `submit` takes the outputs and ends it. The
calls of one turn run side by side (in dspy one after the other). With an adapter that does not use native tool calling
the model writes its calls as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast, get_args

import anyio
from pydantic import TypeAdapter

from ..adapters import AdapterParseError
from ..example import Prediction
from ..lm import ContextWindowExceededError
from ..logs import engine_logger
from ..module import Module
from ..off_loop import ask
from ..predict import Predict
from ..signatures import InputField, OutputField, Signature, ensure_signature
from ..sync import run_sync
from ..types import History, Reasoning, Tool, ToolCallResults, ToolCalls
from .surroundings import told_to_model

__all__ = ["ReActV2"]

logger = engine_logger("dspex.engine.react_v2", dspy="dspy.predict.react_v2")

_RESERVED_OUTPUTS = frozenset({"history", "termination_reason"})
_RESERVED_INPUTS = frozenset({"history", "tools"})
_FRAMES = 5
_FORCED = {"tool_choice": {"type": "function", "function": {"name": "submit"}}, "reasoning_effort": None}


class ReActV2(Module):
    """Experimental: This class may change or be removed in a future release without warning.

    Tool calls in turns, over any signature.

    Attributes:
        tools: by name, `submit` last.
        react: the predictor of a turn.
    """

    def __init__(
        self, signature: str | type[Signature], tools: Sequence[Callable[..., Any]], max_iters: int = 20
    ) -> None:
        """Build the agent.

        Args:
            signature: what is asked of it.
            tools: functions (sync or async), callable objects, or `Tool`s.
            max_iters: turns at most, before the model is made to submit; a call may say otherwise (`max_iters=`).

        Raises:
            ValueError: a field or a tool has a name that the agent needs.
        """
        super().__init__()
        self.signature = ensure_signature(signature)
        self.max_iters = max_iters
        if reserved := _RESERVED_OUTPUTS.intersection(self.signature.output_fields):
            raise ValueError(
                f"Output field name(s) {_quoted(sorted(reserved))} are reserved by ReActV2 and attached to every "
                "returned Prediction. Rename these output fields on your signature."
            )
        if reserved := _RESERVED_INPUTS.intersection(self.signature.input_fields):
            raise ValueError(
                f"Input field name(s) {_quoted(sorted(reserved))} are reserved by ReActV2 for its internal "
                "conversation history and tool list. Rename these input fields on your signature."
            )
        made = [each if isinstance(each, Tool) else Tool(each) for each in tools]
        self.tools = {str(tool.name): tool for tool in made}
        if "submit" in self.tools:
            raise ValueError("`submit` is reserved by ReActV2 as the final-output tool.")
        self.tools["submit"] = _submit_tool(self.signature)
        self.react = Predict(_turn_signature(self.signature, self.tools))

    def forward(self, **input_args: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, **input_args)

    async def aforward(self, **input_args: Any) -> Prediction:
        """Run the agent.

        Args:
            max_iters: turns at most, for this call.
            history: a `History` to go on from. It grows in place.
            **input_args: the signature's inputs; they stand in the first turn.

        Returns:
            The signature's outputs, `history`, and `termination_reason`: "submit" or "forced_submit".

        Raises:
            ValueError: made to submit, the model did not, or not what is wanted.
            AdapterParseError, ContextWindowExceededError, LMError: as the model's last answer.
        """
        max_iters: int = input_args.pop("max_iters", self.max_iters)
        history = _history(input_args.pop("history", None))
        pending = {name: input_args[name] for name in self.signature.input_fields if name in input_args}
        reason = "max_iters"
        for turn in range(max_iters):
            try:
                pred = await ask(self.react, history=history, tools=list(self.tools.values()), **pending)
                calls = _calls(pred)
            except (AdapterParseError, ValueError) as error:
                logger.warning(
                    "Ending ReActV2 loop after parse failure: %s", told_to_model(error, traceback_frames=_FRAMES)
                )
                reason = "parse_error"
                break
            except ContextWindowExceededError:
                logger.warning("Ending ReActV2 loop after context window exceeded.")
                reason = "context_window_exceeded"
                break
            if not calls.tool_calls:
                reason = "empty_tool_calls"
                break
            outputs, _ = await self._take_turn(history, pending, pred, _with_ids(calls, turn))
            pending = {}
            if outputs is not None:
                return Prediction(**outputs, history=history, termination_reason="submit")
        return await self._forced_submit(history, pending, reason, max_iters)

    async def _forced_submit(
        self, history: History, pending: dict[str, Any], reason: str, turn: int
    ) -> Prediction:
        try:
            pred = await ask(
                self.react, history=history, tools=list(self.tools.values()), config=dict(_FORCED), **pending
            )
            calls = _with_ids(_calls(pred), turn)
        except (AdapterParseError, ValueError, ContextWindowExceededError) as error:
            logger.warning("Forced submit failed: %s", told_to_model(error, traceback_frames=_FRAMES))
            raise
        submits = ToolCalls(tool_calls=[call for call in calls.tool_calls if call.name == "submit"])
        if not submits.tool_calls:
            raise ValueError(f"ReActV2 failed to produce final outputs after {reason}: no submit call.")
        outputs, results = await self._take_turn(history, pending, pred, submits)
        if outputs is not None:
            return Prediction(**outputs, history=history, termination_reason="forced_submit")
        errors = "\n".join(str(result.value) for result in results.tool_call_results if result.is_error)
        raise ValueError(f"ReActV2 failed to produce final outputs after {reason}: submit failed.\n{errors}")

    async def _take_turn(
        self, history: History, pending: dict[str, Any], pred: Prediction, calls: ToolCalls
    ) -> tuple[dict[str, Any] | None, ToolCallResults]:
        """Run the calls and note the turn. Returns the outputs, if `submit` was among the calls and succeeded."""
        values, errors, outputs = await self._run(calls)
        results = ToolCallResults.from_tool_calls_and_values(calls, values, errors)
        event = dict(pending)
        thought = getattr(pred, "next_thought", None)
        if thought is not None:
            event["next_thought"] = thought
        if calls.tool_calls:
            if results.tool_call_results:
                calls = calls.model_copy(update={"tool_call_results": results})
            event["tool_calls"] = calls
        event.update(outputs or {})
        if event:
            history.messages.append(event)
        return outputs, results

    async def _run(self, calls: ToolCalls) -> tuple[list[Any], list[bool], dict[str, Any] | None]:
        values: list[Any] = [None] * len(calls.tool_calls)
        failed = [False] * len(calls.tool_calls)

        async def run(index: int, name: str, args: dict[str, Any]) -> None:
            if name not in self.tools:
                values[index], failed[index] = f"Unknown tool: {name}", True
                return
            try:
                values[index] = await ask(self.tools[name], **args)
            except Exception as error:
                frames = told_to_model(error, traceback_frames=_FRAMES)
                values[index], failed[index] = f"Execution error in {name}: {frames}", True

        if len(calls.tool_calls) == 1:
            await run(0, calls.tool_calls[0].name, calls.tool_calls[0].args or {})
        else:
            async with anyio.create_task_group() as group:
                for index, call in enumerate(calls.tool_calls):
                    group.start_soon(partial(run, index, call.name, call.args or {}))
        outputs: dict[str, Any] | None = None
        for call, value, is_error in zip(calls.tool_calls, values, failed, strict=True):
            if call.name == "submit" and not is_error and isinstance(value, dict):
                outputs = cast("dict[str, Any]", value)
        return values, failed, outputs


def _submit_tool(signature: type[Signature]) -> Tool:
    names = list(signature.output_fields)

    def submit(**kwargs: Any) -> dict[str, Any]:
        missing = [name for name in names if name not in kwargs]
        if missing:
            raise ValueError(f"Missing required final output field(s): {', '.join(missing)}")
        return {name: kwargs[name] for name in names}

    return Tool(
        submit,
        name="submit",
        desc="Submit the final outputs for the task.",
        args={name: _schema(field.annotation) for name, field in signature.output_fields.items()},
        arg_types={name: field.annotation for name, field in signature.output_fields.items()},
    )


def _turn_signature(signature: type[Signature], tools: dict[str, Tool]) -> type[Signature]:
    fields: dict[str, Any] = {}
    for name, field in signature.input_fields.items():
        # None after the first turn, when the input stands in the history.
        extra = cast("dict[str, Any]", field.json_schema_extra)
        fields[name] = (_optional(field.annotation), InputField(desc=extra.get("desc")))
    fields["history"] = (History, InputField())
    fields["tools"] = (list[Tool], InputField())
    fields["next_thought"] = (Reasoning, OutputField())
    fields["tool_calls"] = (ToolCalls, OutputField())
    inputs, outputs = _quoted(signature.input_fields), _quoted(signature.output_fields)
    lines = [
        signature.instructions,
        f"You are an Agent. Use the supplied tools to produce {outputs} from {inputs}.",
        "Call tools when more information is needed.",
        f"When the final answer is ready, call `submit` with {outputs}.",
        f"The available tools are: {_quoted(tools)}.",
    ]
    return Signature(fields, "\n".join(lines).strip())


def _quoted(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _schema(annotation: Any) -> dict[str, Any]:
    try:
        return TypeAdapter(annotation).json_schema()
    except Exception:  # a type without a schema is described as text
        return {"type": "string"}


def _optional(annotation: Any) -> Any:
    if type(None) in get_args(annotation):
        return annotation
    try:
        return annotation | None
    except TypeError:
        return annotation


def _history(given: Any) -> History:
    if given is None:
        return History(messages=[])
    return given if isinstance(given, History) else History.model_validate(given)


def _calls(pred: Any) -> ToolCalls:
    calls = getattr(pred, "tool_calls", None)
    return ToolCalls(tool_calls=[]) if calls is None else ToolCalls.model_validate(calls)


def _with_ids(calls: ToolCalls, turn: int) -> ToolCalls:
    return ToolCalls(
        tool_calls=[
            call.model_copy(update={"id": f"call_{turn}_{index}"}) if call.id is None else call
            for index, call in enumerate(calls.tool_calls)
        ]
    )
