"""Models of one's own for jobs: whether an answer is right follows from the prompt, and what is asked is counted."""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from dspex.engine import BaseLM, Example

TRAINSET = [Example(question=f"question {i}", answer=f"answer {i}").with_inputs("question") for i in range(6)]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return example.answer == prediction.answer


class Model(BaseLM):
    """`wait` is awaited in each call; `answer` may change what is answered or raise. `usage=None` reports none."""

    def __init__(
        self,
        wait: Callable[[int], Awaitable[object]] | None = None,
        *,
        answer: Callable[[int, str], str] | None = None,
        usage: Mapping[str, int] | None = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        cost: float | None = None,
    ) -> None:
        super().__init__("stub")
        self.asked: list[str] = []
        self.finished = 0
        self._wait = wait
        self._answer_of = answer
        self._usage = usage
        self._cost = cost

    def __deepcopy__(self, memo: dict[int, object]) -> "Model":
        return self

    def copy(self, **changes: Any) -> "Model":
        return self

    async def aforward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        text = "\n".join(str(message["content"]) for message in messages)
        self.asked.append(text)
        number = len(self.asked)
        if self._wait is not None:
            await self._wait(number)
        else:
            await anyio.lowlevel.checkpoint()
        question = re.findall(r"\[\[ ## question ## \]\]\n(.*)", text)[-1]
        answer = self._answer_of(number, question) if self._answer_of is not None else honest(text, question)
        self.finished += 1
        made: dict[str, Any] = {
            "model": "stub",
            "choices": [{"message": {"content": f"[[ ## answer ## ]]\n{answer}\n\n[[ ## completed ## ]]"}}],
            "usage": self._usage or {},
        }
        if self._cost is not None:
            made["_hidden_params"] = {"response_cost": self._cost}
        return made


def honest(prompt: str, question: str) -> str:
    wrong = hashlib.sha256(prompt.encode()).digest()[0] % 3 == 0
    return "something else" if wrong else question.replace("question", "answer")
