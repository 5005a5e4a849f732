"""`InstructionProposer`: the model that reflects writes a new instruction out of the old one and of runs with feedback.

    proposer = InstructionProposer(skills="./skills/triage", max_chars=1500)
    optimizer = GEPA(metric=metric, reflection_lm=strong_lm, instruction_proposer=proposer, auto="light")

Prompts, limits and errors are those of dspy 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

from pydantic import StringConstraints, TypeAdapter, ValidationError

from ..adapters import Adapter, JSONAdapter
from ..predict import Predict
from ..sandbox.repl import REPLHistory
from ..settings import context
from ..signatures import InputField, OutputField, Signature
from ..sync import run_sync
from ..types import History, ToolCallResults, ToolCalls
from .skills import Skill, load_skill, render_skill

__all__ = [
    "CompressInstruction",
    "InstructionProposer",
    "ProposeInstruction",
    "ReflectiveExample",
    "compact_history",
    "compact_repl_history",
]

ReflectiveExample = TypedDict(
    "ReflectiveExample",
    {"Inputs": dict[str, Any], "Generated Outputs": dict[str, Any] | str, "Feedback": str},
)
"""What a proposer is told of one run of a predictor."""

_COMPACTED_CHARS = 500


class ProposeInstruction(Signature):
    """I provided an assistant with instructions to perform a task for me. You are given those instructions, along with examples of different task inputs provided to the assistant, the assistant's response for each of them, and some feedback on how the assistant's response could be better.

    Your task is to write a new instruction for the assistant.

    Read the inputs carefully and identify the input format and infer detailed task description about the task I wish to solve with the assistant.

    Read all the assistant responses and the corresponding feedback. Identify all niche and domain specific factual information about the task and include it in the instruction, as a lot of it may not be available to the assistant in the future. The assistant may have utilized a generalizable strategy to solve the task, if so, include that in the instruction as well."""  # noqa: E501 - the lines of the prompt

    current_instruction: str = InputField(desc="The instructions I provided to the assistant.")
    examples_with_feedback: list[dict[str, Any]] = InputField(
        desc="Task inputs provided to the assistant, the assistant's response for each, "
        "and feedback on how the response could be better."
    )
    new_instruction: str = OutputField(desc="The new instruction for the assistant.")


class CompressInstruction(Signature):
    """Shorten the instruction to fit within the stated limit. Preserve every
    strategy, rule, and constraint; cut redundancy and verbosity. Do not add
    new content. Output only the shortened instruction."""

    instruction: str = InputField()
    length_limit: str = InputField()
    shortened_instruction: str = OutputField()


def compact_history(history: History, max_chars: int = _COMPACTED_CHARS) -> History:
    """A copy of a conversation in which results of tools are at most `max_chars` characters long, plus a remark on what was
    cut. Nothing else is shortened, and the conversation itself is not changed.
    """
    messages = [
        {key: _compact_calls(value, max_chars) for key, value in message.items()} for message in history.messages
    ]
    return history.model_copy(update={"messages": messages})


def _compact_calls(value: Any, max_chars: int) -> Any:
    if not isinstance(value, ToolCalls) or not isinstance(value.tool_call_results, ToolCallResults):
        return value
    kept: list[Any] = []
    for result in value.tool_call_results.tool_call_results:
        text = result.value if isinstance(result.value, str) else str(result.value)
        cut = len(text) - max_chars
        if cut > 0:
            remark = f" [{cut:,} of {len(text):,} characters cut]"
            result = result.model_copy(update={"value": text[:max_chars] + remark})
        kept.append(result)
    results = value.tool_call_results.model_copy(update={"tool_call_results": kept})
    return value.model_copy(update={"tool_call_results": results})


def compact_repl_history(history: REPLHistory, max_chars: int = _COMPACTED_CHARS) -> REPLHistory:
    """A copy whose outputs are shown with at most `max_chars` characters."""
    return history.model_copy(update={"max_output_chars": min(history.max_output_chars, max_chars)})


class InstructionProposer:
    """GEPA's own proposer, with what can be set of it."""

    def __init__(
        self,
        skills: str | Path | Sequence[str | Path] | None = None,
        additional_instructions: str | None = None,
        base_instructions: str | None = None,
        max_chars: int | None = None,
        truncate_history_outputs: bool = False,
        adapter: Adapter | None = None,
    ) -> None:
        """Describe how instructions are proposed.

        Args:
            skills: reference material: files, folders with a `SKILL.md`, or texts; read now.
            additional_instructions: requirements for every proposal.
            base_instructions: replaces the prompt.
            max_chars: characters of a proposal. A longer one is shortened by the model, once; then it is an error.
            truncate_history_outputs: shorten long results of tools in conversations, and long outputs of a REPL.
            adapter: for the proposer's own requests; default a `JSONAdapter`.

        Raises:
            ValueError, TypeError: an argument of another kind; and what `load_skill` raises.
        """
        limit = cast("object", max_chars)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit <= 0):
            raise ValueError(f"max_chars must be a positive int or None, got {max_chars!r}.")
        if not isinstance(cast("object", truncate_history_outputs), bool):
            raise TypeError(f"truncate_history_outputs must be a bool, got {type(truncate_history_outputs).__name__}.")
        if adapter is not None and not isinstance(cast("object", adapter), Adapter):
            raise TypeError(f"adapter must be a dspy.Adapter or None, got {type(adapter).__name__}.")
        sources = [skills] if isinstance(skills, str | Path) else (skills or ())
        self.skills: tuple[Skill, ...] = tuple(load_skill(source) for source in sources)
        self.additional_instructions = _text("additional_instructions", additional_instructions)
        self.base_instructions = _text("base_instructions", base_instructions)
        self.max_chars = max_chars
        self.truncate_history_outputs = truncate_history_outputs
        self.adapter = adapter if adapter is not None else JSONAdapter()
        self._valid = TypeAdapter[str](
            Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=max_chars)]
        )
        self.propose = Predict(self._signature())
        self.compress = Predict(CompressInstruction) if max_chars is not None else None

    def _signature(self) -> Any:
        # What is the same in every request comes first, where a provider's cache of prompts finds it.
        signature: Any = ProposeInstruction
        if self.max_chars is not None:
            field = InputField(desc="Hard limit on the length of the new instruction.")
            signature = signature.prepend("length_limit", field, str)
        if self.additional_instructions:
            field = InputField(desc="Additional requirements from the user for the new instruction. Follow them.")
            signature = signature.prepend("additional_instructions", field, str)
        if self.skills:
            field = InputField(
                desc="Trusted reference material chosen by the user. Draw on it when writing the new instruction."
            )
            signature = signature.prepend("reference_skills", field, str)
        return signature.with_instructions(self.base_instructions) if self.base_instructions else signature

    def __call__(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """`acall` from synchronous code. Raises `SyncInsideLoopError` on a running event loop."""
        return run_sync(self.acall, candidate, reflective_dataset, components_to_update)

    async def acall(
        self,
        candidate: dict[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """A new instruction for each of these components, by the configured LM. One that is not in the candidate, or of
        which no runs are told, is left out.

        Raises:
            ValueError: the model wrote nothing, or (pydantic's) too much even after it was told to shorten it.
        """
        proposed: dict[str, str] = {}
        for name in components_to_update:
            if name not in candidate or name not in reflective_dataset:
                continue
            with context(adapter=self.adapter):
                answer = await self.propose.acall(**self._asked(candidate[name], reflective_dataset[name]))
            draft: str = answer.new_instruction.strip()
            if not draft:
                raise ValueError(f"The reflection LM returned an empty instruction for component {name!r}.")
            proposed[name] = await self._within_limit(draft)
        return proposed

    def _asked(self, instruction: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        if self.skills:
            asked["reference_skills"] = "\n\n".join(render_skill(skill) for skill in self.skills)
        if self.additional_instructions:
            asked["additional_instructions"] = self.additional_instructions
        if self.max_chars is not None:
            asked["length_limit"] = self._limit
        asked["current_instruction"] = instruction
        shorten = _shortened if self.truncate_history_outputs else dict[str, Any]
        asked["examples_with_feedback"] = [shorten(example) for example in examples]
        return asked

    @property
    def _limit(self) -> str:
        return f"The new instruction must be at most {self.max_chars} characters."

    async def _within_limit(self, draft: str) -> str:
        try:
            return self._valid.validate_python(draft)
        except ValidationError:
            if self.compress is None:
                raise
        with context(adapter=self.adapter):
            answer = await self.compress.acall(instruction=draft, length_limit=self._limit)
        return self._valid.validate_python(answer.shortened_instruction)


def _shortened(value: Any) -> Any:
    if isinstance(value, History):
        return compact_history(value)
    if isinstance(value, REPLHistory):
        return compact_repl_history(value)
    if isinstance(value, Mapping):
        return {key: _shortened(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_shortened(each) for each in cast("Sequence[Any]", value)]
    return value


def _text(name: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(cast("object", value), str):
        raise TypeError(f"{name} must be a str or None, got {type(value).__name__}.")
    return value.strip() or None
