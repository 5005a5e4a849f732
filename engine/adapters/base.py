"""What every adapter does: signature, demos and inputs to messages; one call of the model; its answers to outputs.

An adapter has one pipeline, `acall`, and it is asynchronous; `adapter(...)` is its synchronous face. What a subclass
may change are the `format*` methods and `parse`, whose names and duties are those of dspy 3.4; each is honoured
wherever it is overridden, and what no one overrides is computed once per signature (`plan.py`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

import anyio.to_thread

from ..callbacks import with_callbacks
from ..signatures import SignatureMeta
from ..sync import run_sync
from ..types import Citations, Reasoning, Type
from ..types.base import CUSTOM_TYPE_START_IDENTIFIER, content_parts
from .conversation import turns_of
from .demos import Record
from .errors import AdapterParseError
from .language_model import LanguageModel, Message
from .native import TOOL_OPTIONS, provided_by_the_model, tool_calls_of, tools_as_options
from .plan import Plan

_INCOMPLETE_DEMO = "This is an example of the task, though some input or output fields are not supplied."
_NOT_IN_DEMO = "Not supplied for this particular example. "
_NOT_IN_HISTORY = "Not supplied for this conversation history message. "

_SYSTEM_HOOKS = (
    "format_system_message",
    "format_field_description",
    "format_field_structure",
    "format_task_description",
    "format_field_with_value",
)
_TURN_HOOKS = (
    "format_user_message_content",
    "format_assistant_message_content",
    "user_message_output_requirements",
    "format_field_with_value",
)
_ROOM = __name__.rpartition(".")[0]
_NATIVE_RESPONSE_TYPES: tuple[type[Type], ...] = (Citations, Reasoning)


@dataclass(frozen=True, slots=True)
class AdapterStatistics:
    """Counts since the adapter was made."""

    calls: int
    """Requests that were begun."""
    parse_failures: int
    """Requests whose answer could not be read by this adapter."""
    fallbacks: int
    """Requests that were asked again in another format after that: each cost a second call of the model."""
    fallback_failures: int
    """Fallbacks that did not produce the outputs either."""
    schema_refusals: int = 0
    """Requests that were sent again without their JSON schema, because the provider refused it."""


class Adapter:
    """Base of the adapters. Instances hold only options and counters, and may be shared by concurrent calls."""

    callback_kind: ClassVar[str] = "adapter"

    _plans: ClassVar[WeakKeyDictionary[SignatureMeta, Plan]] = WeakKeyDictionary()
    _system_is_fixed: ClassVar[bool] = False
    _turns_are_fixed: ClassVar[bool] = False
    _values_are_fixed: ClassVar[bool] = False

    def __init__(
        self,
        callbacks: list[Any] | None = None,
        use_native_function_calling: bool = False,
        native_response_types: list[type[Type]] | None = None,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        self.callbacks: list[Any] = callbacks or []
        """Told of every `format` and `parse` (`dspex.engine.callbacks`)."""
        self.use_native_function_calling = use_native_function_calling
        """Whether tools go to the model's own tool calling; otherwise the tool options of a request are left out."""
        self.parallel_tool_calls = parallel_tool_calls
        """Sent with tool-calling requests when it is not None."""
        self.native_response_types: list[type[Type]] = native_response_types or list(_NATIVE_RESPONSE_TYPES)
        """The types of outputs that are left to a model which provides them by itself."""
        self._calls = 0
        self._parse_failures = 0
        self._fallbacks = 0
        self._fallback_failures = 0
        self._schema_refusals = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._plans = WeakKeyDictionary()
        # A hook of a user's subclass may read anything at each call, so only this room's own texts are kept.
        cls._system_is_fixed = all(_is_ours(cls, hook) for hook in _SYSTEM_HOOKS)
        cls._turns_are_fixed = all(_is_ours(cls, hook) for hook in _TURN_HOOKS)
        cls._values_are_fixed = _is_ours(cls, "format_field_with_value")
        # Inherited methods too, as in dspy: a callback hears of a method once for each class it passed through.
        cls.format = with_callbacks(cls.format)
        cls.parse = with_callbacks(cls.parse)

    def statistics(self) -> AdapterStatistics:
        """Counts since the adapter was made."""
        return AdapterStatistics(
            self._calls, self._parse_failures, self._fallbacks, self._fallback_failures, self._schema_refusals
        )

    # -- the pipeline --------------------------------------------------------------------------------------------------

    def __call__(
        self,
        lm: LanguageModel,
        lm_kwargs: Mapping[str, Any],
        signature: SignatureMeta,
        demos: Sequence[Record],
        inputs: Record,
    ) -> list[dict[str, Any]]:
        """`acall` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(self.acall, lm, lm_kwargs, signature, demos, inputs)

    async def acall(
        self,
        lm: LanguageModel,
        lm_kwargs: Mapping[str, Any],
        signature: SignatureMeta,
        demos: Sequence[Record],
        inputs: Record,
    ) -> list[dict[str, Any]]:
        """Asks the model once and reads its answers: one dict of outputs for each of them, in order.

        `lm_kwargs` are the options of the request and are not changed. When the model reports log probabilities, the
        dict has them under `logprobs`. Cancelling cancels the request.

        Raises:
            AdapterParseError: an answer does not contain the outputs.
            FieldValueError: an input or demo cannot be written into the prompt.
            ValueError: tool calls are to come natively and the signature has no tools.
            Exception: whatever `lm.acall` raises.
        """
        self._calls += 1
        options = dict(lm_kwargs)
        asked = self._call_preprocess(lm, options, signature, inputs)
        messages = self.format(asked, demos, inputs)
        if options.get("parallel_tool_calls") is not None:
            options.setdefault("tool_choice", "auto")
        answers = await self._ask(lm, messages, options)
        try:
            return self._call_postprocess(asked, signature, answers, lm, options)
        except AdapterParseError:
            self._parse_failures += 1
            raise

    async def _ask(
        self, lm: LanguageModel, messages: list[Message], options: dict[str, Any]
    ) -> Sequence[str | Mapping[str, Any]]:
        return await lm.acall(messages=messages, **options)

    def _call_preprocess(
        self, lm: LanguageModel, lm_kwargs: dict[str, Any], signature: SignatureMeta, inputs: Record
    ) -> SignatureMeta:
        """The signature as it is shown to the model: without what the model takes or gives by itself. Changes
        `lm_kwargs` so that they ask for that.
        """
        if self.use_native_function_calling:
            signature = tools_as_options(
                self._plan(signature), signature, lm, lm_kwargs, inputs, self.parallel_tool_calls
            )
        else:
            for name in TOOL_OPTIONS:
                lm_kwargs.pop(name, None)
        for name, kind in self._plan(signature).custom_outputs:
            if kind in self.native_response_types:
                signature = provided_by_the_model(self._plan(signature), signature, name, kind, lm, lm_kwargs)
        return signature

    def _call_postprocess(
        self,
        processed_signature: SignatureMeta,
        original_signature: SignatureMeta,
        outputs: Sequence[str | Mapping[str, Any]],
        lm: LanguageModel,
        lm_kwargs: Mapping[str, Any],
    ) -> list[dict[str, Any]]:
        """The outputs of the original signature in each answer."""
        return [self._outputs(processed_signature, original_signature, answer) for answer in outputs]

    def _outputs(
        self, asked: SignatureMeta, signature: SignatureMeta, answer: str | Mapping[str, Any]
    ) -> dict[str, Any]:
        text, calls = self._parts_of(signature, answer)
        if calls is None:
            found = self.parse(asked, text)
        elif not text or not self._plan(asked).outputs:
            found = {}
        else:
            try:
                found = self.parse(asked, text)
            except AdapterParseError:
                found = {}  # a model that calls tools seldom writes the other outputs too
        return self._finished(signature, answer, found)

    def _parts_of(self, signature: SignatureMeta, answer: str | Mapping[str, Any]) -> tuple[Any, Sequence[Any] | None]:
        """The text of an answer, and its tool calls if the signature has an output for them.

        Raises:
            AdapterParseError: the answer has neither.
        """
        text: Any = answer if isinstance(answer, str) else answer.get("text")
        calls: Any = None if isinstance(answer, str) else answer.get("tool_calls")
        if calls and self._plan(signature).tool_calls is not None:
            return text, calls
        if not text:
            raise AdapterParseError(
                adapter_name=type(self).__name__,
                signature=signature,
                lm_response=str(answer),
                message="The LM returned an empty or null response.",
            )
        return text, None

    def _finished(
        self, signature: SignatureMeta, answer: str | Mapping[str, Any], found: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The outputs that were read, and those that came beside the text."""
        plan = self._plan(signature)
        values = plan.completed(found)
        for name in plan.outputs:
            values.setdefault(name, None)
        if isinstance(answer, str):
            return values
        calls = answer.get("tool_calls")
        if calls and plan.tool_calls is not None:
            values[plan.tool_calls] = tool_calls_of(calls)
        for name, kind in plan.custom_outputs:
            if kind in self.native_response_types:
                provided = kind.parse_lm_response(dict(answer))
                if provided is not None:
                    values[name] = provided
        if answer.get("logprobs"):
            values["logprobs"] = answer["logprobs"]
        return values

    # -- the prompt ----------------------------------------------------------------------------------------------------

    def format(self, signature: SignatureMeta, demos: Sequence[Record], inputs: Record) -> list[Message]:
        """The messages of a request: system, incomplete demos, complete demos, the conversation so far, the request
        itself. The list and the dicts in it are the caller's.
        """
        history = self._plan(signature).history
        turns: list[Message] = []
        shown = signature
        if history is not None:
            shown = self._plan(signature).without(signature, (history,))
            given: dict[str, Any] = dict(cast("Any", inputs))
            turns = self.format_conversation_history(shown, history, given)
            inputs = given
        messages: list[Message] = [{"role": "system", "content": self.format_system_message(signature)}]
        if demos:
            messages += self.format_demos(signature, demos)
        messages += turns
        content = self.format_user_message_content(shown, inputs, main_request=True)
        if content:
            messages.append({"role": "user", "content": content})
        for message in messages:
            content = message["content"]
            if (
                message["role"] == "user"
                and isinstance(content, str)
                and CUSTOM_TYPE_START_IDENTIFIER in content
            ):
                message["content"] = content_parts(content)
        return messages

    def format_system_message(self, signature: SignatureMeta) -> str:
        """Fields, layout and task, a line break between each."""
        plan = self._plan(signature)
        if plan.system is not None:
            return plan.system
        parts = (
            self.format_field_description(signature),
            self.format_field_structure(signature),
            self.format_task_description(signature),
        )
        text = "\n".join(parts)
        if self._system_is_fixed:
            plan.system = text
        return text

    def format_demos(self, signature: SignatureMeta, demos: Sequence[Record]) -> list[Message]:
        """A question and an answer for each demo, first those that lack fields, which are introduced as such.

        A demo without any input or without any output shows nothing and is left out.
        """
        plan = self._plan(signature)
        incomplete: list[Message] = []
        complete: list[Message] = []
        for demo in demos:
            rendered = plan.demos.find(demo) if self._turns_are_fixed else None
            if rendered is None:
                is_complete = all(name in demo and demo[name] is not None for name in plan.names)
                if not is_complete and not (
                    any(field.name in demo for field in plan.inputs) and any(name in demo for name in plan.outputs)
                ):
                    continue
                missing = _NOT_IN_HISTORY if is_complete else _NOT_IN_DEMO
                # Passed as dspy passes them: a subclass may have declared no more than is used.
                if is_complete:
                    request = self.format_user_message_content(signature, demo)
                else:
                    request = self.format_user_message_content(signature, demo, prefix=_INCOMPLETE_DEMO)
                answer = self.format_assistant_message_content(signature, demo, missing_field_message=missing)
                if self._turns_are_fixed:
                    plan.demos.keep(demo, is_complete, request, answer)
            else:
                is_complete, request, answer = rendered.complete, rendered.request, rendered.answer
            turns = complete if is_complete else incomplete
            turns.append({"role": "user", "content": request})
            turns.append({"role": "assistant", "content": answer})
        return incomplete + complete

    def format_conversation_history(
        self, signature: SignatureMeta, history_field_name: str, inputs: dict[str, Any]
    ) -> list[Message]:
        """The earlier turns in `inputs[history_field_name]`, which is taken out of `inputs`. `signature` does not have
        that field.
        """
        history = inputs[history_field_name].messages if history_field_name in inputs else None
        if history is None:
            return []
        turns = [turn for message in history for turn in turns_of(self, signature, message)]
        del inputs[history_field_name]
        return turns

    def format_field_description(self, signature: SignatureMeta) -> str:
        """The part of the system message that lists the fields."""
        raise NotImplementedError

    def format_field_structure(self, signature: SignatureMeta) -> str:
        """The part of the system message that shows the layout of requests and answers."""
        raise NotImplementedError

    def format_task_description(self, signature: SignatureMeta) -> str:
        """The part of the system message that says what to do."""
        raise NotImplementedError

    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        """A question: the inputs that are there, and for the main request what the answer must look like."""
        raise NotImplementedError

    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        """An answer as the model should have written it."""
        raise NotImplementedError

    # -- the answer ----------------------------------------------------------------------------------------------------

    def parse(self, signature: SignatureMeta, completion: str) -> dict[str, Any]:
        """The outputs in `completion`, in the order of the signature.

        Raises:
            AdapterParseError: a required output is missing, or a value is not of its type.
        """
        raise NotImplementedError

    def _plan(self, signature: SignatureMeta) -> Plan:
        plan = self._plans.get(signature)
        if plan is None or not plan.is_of(signature):
            plan = Plan(signature)
            self._plans[signature] = plan
        return plan


def _is_ours(cls: type, hook: str) -> bool:
    method = inspect.getattr_static(cls, hook, None)
    return method is None or str(getattr(method, "__module__", "")).startswith(_ROOM)


async def run_adapter(
    adapter: Adapter,
    lm: LanguageModel,
    lm_kwargs: Mapping[str, Any],
    signature: SignatureMeta,
    demos: Sequence[Record],
    inputs: Record,
) -> list[dict[str, Any]]:
    """`adapter.acall`; or, for an adapter of the user's that has replaced `__call__` alone, that, in a worker thread.

    Programs written for dspy wrap an adapter in either way, and a synchronous program of theirs only in the second.
    """
    kind = type(adapter)
    if kind.__call__ is not Adapter.__call__ and _is_ours(kind, "acall") and not _is_ours(kind, "__call__"):
        call = partial(adapter, lm, lm_kwargs, signature, demos, inputs)
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)
    return await adapter.acall(lm, lm_kwargs, signature, demos, inputs)
