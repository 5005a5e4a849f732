"""`DummyLM`: an LM for your tests that answers from a script, in the format the adapter expects.

    lm = DummyLM([{"answer": "red"}, {"answer": "blue"}])          # in order; then "No more responses"
    lm = DummyLM({"color of the sky": {"answer": "blue"}})         # by a text found in the last message
    lm = DummyLM([], follow_examples=True)                         # repeats the answer of an equal demo

It makes no request and needs no SDK. Modes, names and texts are those of dspy 3.4.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ..adapters import Adapter, ChatAdapter
from ..signatures import OutputField, make_signature
from .base import Answer, BaseLM, Messages, Output
from .history import HistoryEntry

__all__ = ["DummyLM"]

_NOTHING_LEFT = "No more responses"
_HEADER_AT_START = re.compile(r"\[\[ ## \w+ ## \]\]")
_COMPLETED = "[[ ## completed ## ]]"
_USAGE: Mapping[str, object] = {
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "total_tokens": 0,
    "prompt_tokens_details": None,
    "completion_tokens_details": None,
}


class DummyLM(BaseLM):
    """Answers from a script.

    Args:
        answers: a list of field values, used up in order; or a dict from a text to field values, looked up in the last
            message.
        follow_examples: answer as the demo whose question equals the request's.
        reasoning: add a made-up `reasoning_content` to every answer.
        adapter: the adapter whose format to imitate; default `ChatAdapter`.
    """

    builtin_state_class: ClassVar[str | None] = None

    def __init__(
        self,
        answers: Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]],
        follow_examples: bool = False,
        reasoning: bool = False,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__("dummy", "chat", 0.0, 1000, True)
        self.answers: Mapping[str, Mapping[str, Any]] | Iterator[Mapping[str, Any]]
        self.answers = answers if isinstance(answers, Mapping) else iter(answers)
        self.follow_examples = follow_examples
        self.reasoning = reasoning
        self.adapter = adapter if adapter is not None else ChatAdapter()

    def get_convo(self, index: int) -> tuple[object, object]:
        """Messages and outputs of the call at `index` of the history."""
        entry: HistoryEntry = self.history[index]
        return entry["messages"], entry["outputs"]

    def __deepcopy__(self, memo: dict[int, object]) -> DummyLM:
        # The script is shared: copies of a program take their answers from one list, in turn.
        made = self.copy()
        memo[id(self)] = made
        return made

    async def _answer(
        self, prompt: str | None, messages: Messages | None, options: Mapping[str, Any], call: Mapping[str, Any]
    ) -> Answer:
        if type(self).aforward is not BaseLM.aforward or type(self).forward is not BaseLM.forward:
            return await super()._answer(prompt, messages, options, call)  # a subclass that answers by itself
        return await self._metered(prompt, messages, options, partial(self._scripted, prompt, messages, options))

    async def _scripted(self, prompt: str | None, messages: Messages | None, options: Mapping[str, Any]) -> Answer:
        asked = messages if messages is not None else [{"role": "user", "content": prompt}]
        outputs: list[Output] = []
        for _ in range(options.get("n") or 1):
            text = self._text(asked)
            outputs.append({"text": text, "reasoning_content": "Some reasoning"} if self.reasoning else text)
        return Answer(outputs=outputs, usage=_USAGE, response=outputs, model="dummy")

    def _text(self, messages: Messages) -> str:
        if self.follow_examples:
            return _answer_of_equal_demo(messages) or ""
        if isinstance(self.answers, Mapping):
            last = str(messages[-1]["content"])
            found = next((values for key, values in self.answers.items() if key in last), None)
            return _NOTHING_LEFT if found is None else self._formatted(found)
        return self._formatted(next(self.answers, {"answer": _NOTHING_LEFT}))

    def _formatted(self, values: Mapping[str, Any]) -> str:
        fields: dict[str, Any] = {name: (Any, OutputField()) for name in values}
        text = self.adapter.format_assistant_message_content(make_signature(fields), dict(values))
        return text.rstrip().removesuffix(_COMPLETED).rstrip()


def _answer_of_equal_demo(messages: Messages) -> str | None:
    headers = Counter(
        found[0] for message in messages if (found := _HEADER_AT_START.match(str(message.get("content", ""))))
    )
    if not headers:
        return None
    # Requests outnumber answers by the one that waits, so a header seen less often than the commonest opens an answer.
    most = max(headers.values())
    answers = [header for header, count in headers.items() if count != most]
    question = str(messages[-1]["content"]).split("\n\n")[0]
    for index in range(len(messages) - 1, 0, -1):
        answer = str(messages[index]["content"])
        if any(header in answer for header in answers) and question in str(messages[index - 1]["content"]):
            return answer
    return None
