"""What every adapter does: signature, demos and inputs to messages; one call of the model; its answers to outputs.

An adapter has one pipeline, `acall`, and it is asynchronous. What a subclass may change are the `format*` methods and
`parse`, whose names and duties are those of dspy 3.4; each is honoured wherever it is overridden, and what no one
overrides is computed once per signature (`plan.py`).
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from ..signatures import SignatureMeta
from .errors import AdapterParseError
from .plan import Plan, Record

Message = dict[str, Any]
"""`{"role": ..., "content": ...}`, as the chat APIs take it."""

_INCOMPLETE_DEMO = "This is an example of the task, though some input or output fields are not supplied."
_NOT_IN_DEMO = "Not supplied for this particular example. "
_NOT_IN_HISTORY = "Not supplied for this conversation history message. "

_SYSTEM_HOOKS = (
    "format_system_message",
    "format_field_description",
    "format_field_structure",
    "format_task_description",
)
_TURN_HOOKS = ("format_user_message_content", "format_assistant_message_content", "user_message_output_requirements")
_ROOM = __name__.rpartition(".")[0]


class LanguageModel(Protocol):
    """What an adapter needs of a model."""

    @property
    def model(self) -> str: ...
    @property
    def supported_params(self) -> AbstractSet[str]: ...
    @property
    def supports_response_schema(self) -> bool: ...
    @property
    def supports_function_calling(self) -> bool: ...

    async def acall(
        self, prompt: str | None = None, messages: list[Message] | None = None, **kwargs: Any
    ) -> Sequence[str | Mapping[str, Any]]: ...


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


class Adapter(ABC):
    """Base of the adapters. Instances hold only options and counters, and may be shared by concurrent calls."""

    _plans: ClassVar[WeakKeyDictionary[SignatureMeta, Plan]]
    _system_is_fixed: ClassVar[bool]
    _turns_are_fixed: ClassVar[bool]

    def __init__(
        self,
        callbacks: Sequence[object] | None = None,
        use_native_function_calling: bool = False,
        native_response_types: Sequence[type] | None = None,
        parallel_tool_calls: bool | None = None,
    ) -> None:
        if callbacks:
            raise NotImplementedError("callbacks: dspex.engine does not call them yet. Leave them out.")
        if native_response_types:
            raise NotImplementedError("native_response_types: dspex.engine has no native types yet. Leave it out.")
        self.callbacks: list[object] = []
        self.use_native_function_calling = use_native_function_calling
        """Whether tools go to the model's own tool calling; otherwise the tool options of a request are left out."""
        self.parallel_tool_calls = parallel_tool_calls
        """Sent with tool-calling requests when it is not None."""
        self._calls = 0
        self._parse_failures = 0
        self._fallbacks = 0
        self._fallback_failures = 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._plans = WeakKeyDictionary()
        # A hook of a user's subclass may read anything at each call, so only this room's own texts are kept.
        cls._system_is_fixed = all(_is_ours(cls, hook) for hook in _SYSTEM_HOOKS)
        cls._turns_are_fixed = all(_is_ours(cls, hook) for hook in _TURN_HOOKS)

    def statistics(self) -> AdapterStatistics:
        """Counts since the adapter was made."""
        return AdapterStatistics(self._calls, self._parse_failures, self._fallbacks, self._fallback_failures)

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
            Whatever `lm.acall` raises.
        """
        self._calls += 1
        options = self._request_options(lm, lm_kwargs, signature)
        messages = self.format(signature, demos, inputs)
        answers = await lm.acall(messages=messages, **options)
        try:
            return [self._outputs(signature, answer) for answer in answers]
        except AdapterParseError:
            self._parse_failures += 1
            raise

    def _request_options(
        self, lm: LanguageModel, lm_kwargs: Mapping[str, Any], signature: SignatureMeta
    ) -> dict[str, Any]:
        options = dict(lm_kwargs)
        if not self.use_native_function_calling:
            for name in ("tools", "tool_choice", "parallel_tool_calls"):
                options.pop(name, None)
        elif options.get("parallel_tool_calls") is not None:
            options.setdefault("tool_choice", "auto")
        return options

    def _outputs(self, signature: SignatureMeta, answer: str | Mapping[str, Any]) -> dict[str, Any]:
        text = answer if isinstance(answer, str) else answer.get("text")
        if not text:
            raise AdapterParseError(
                adapter_name=type(self).__name__,
                signature=signature,
                lm_response=str(answer),
                message="The LM returned an empty or null response.",
            )
        outputs = self._plan(signature).completed(self.parse(signature, text))
        if not isinstance(answer, str) and answer.get("logprobs"):
            outputs["logprobs"] = answer["logprobs"]
        return outputs

    def format(self, signature: SignatureMeta, demos: Sequence[Record], inputs: Record) -> list[Message]:
        """The messages of a request: system, incomplete demos, complete demos, the request itself. The list and the
        dicts in it are the caller's.
        """
        messages: list[Message] = [{"role": "system", "content": self.format_system_message(signature)}]
        if demos:
            messages += self.format_demos(signature, demos)
        content = self.format_user_message_content(signature, inputs, main_request=True)
        if content:
            messages.append({"role": "user", "content": content})
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
                prefix, missing = ("", _NOT_IN_HISTORY) if is_complete else (_INCOMPLETE_DEMO, _NOT_IN_DEMO)
                request = self.format_user_message_content(signature, demo, prefix=prefix)
                answer = self.format_assistant_message_content(signature, demo, missing_field_message=missing)
                if self._turns_are_fixed:
                    plan.demos.keep(demo, is_complete, request, answer)
            else:
                is_complete, request, answer = rendered.complete, rendered.request, rendered.answer
            turns = complete if is_complete else incomplete
            turns.append({"role": "user", "content": request})
            turns.append({"role": "assistant", "content": answer})
        return incomplete + complete

    @abstractmethod
    def format_field_description(self, signature: SignatureMeta) -> str:
        """The part of the system message that lists the fields."""

    @abstractmethod
    def format_field_structure(self, signature: SignatureMeta) -> str:
        """The part of the system message that shows the layout of requests and answers."""

    @abstractmethod
    def format_task_description(self, signature: SignatureMeta) -> str:
        """The part of the system message that says what to do."""

    @abstractmethod
    def format_user_message_content(
        self, signature: SignatureMeta, inputs: Record, prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        """A question: the inputs that are there, and for the main request what the answer must look like."""

    @abstractmethod
    def format_assistant_message_content(
        self, signature: SignatureMeta, outputs: Record, missing_field_message: str | None = None
    ) -> str:
        """An answer as the model should have written it."""

    @abstractmethod
    def parse(self, signature: SignatureMeta, completion: str) -> dict[str, Any]:
        """The outputs in `completion`, in the order of the signature.

        Raises:
            AdapterParseError: a required output is missing, or a value is not of its type.
        """

    def _plan(self, signature: SignatureMeta) -> Plan:
        plan = self._plans.get(signature)
        if plan is None or not plan.is_of(signature):
            plan = Plan(signature)
            self._plans[signature] = plan
        return plan


def _is_ours(cls: type, hook: str) -> bool:
    method = inspect.getattr_static(cls, hook, None)
    return method is None or str(getattr(method, "__module__", "")).startswith(_ROOM)
