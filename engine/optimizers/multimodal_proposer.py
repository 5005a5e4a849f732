"""`MultiModalInstructionProposer`: a proposer for GEPA that shows the model the images of the examples.

As dspy 3.4. (`InstructionProposer` shows them too; this one has its own prompt, about what is to be seen.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from ..module import Module
from ..predict import Predict
from ..signatures import InputField, OutputField, Signature
from ..sync import run_sync
from ..types import Type

__all__ = [
    "GenerateEnhancedMultimodalInstructionFromFeedback",
    "MultiModalInstructionProposer",
    "SingleComponentMultiModalProposer",
]

_ERROR_WORDS = ("incorrect", "wrong", "error", "failed", "missing")
_SUCCESS_WORDS = ("correct", "good", "accurate", "well", "successfully")
_KNOWLEDGE_WORDS = ("should know", "domain", "specific", "context", "background")
_DEEPEST_HEADING = 6


class GenerateEnhancedMultimodalInstructionFromFeedback(Signature):
    """I provided an assistant with instructions to perform a task involving visual content, but the assistant's performance needs improvement based on the examples and feedback below.

    Your task is to write a better instruction for the assistant that addresses the specific issues identified in the feedback, with particular attention to how visual and textual information should be analyzed and integrated.

    ## Analysis Steps:
    1. **Read the inputs carefully** and identify both the visual and textual input formats, understanding how they work together
    2. **Read all the assistant responses and corresponding feedback** to understand what went wrong with visual analysis, text processing, or their integration
    3. **Identify visual analysis patterns** - what visual features, relationships, or details are important for this task
    4. **Identify domain-specific knowledge** about both visual and textual aspects, as this information may not be available to the assistant in the future
    5. **Look for successful visual-textual integration strategies** and include these patterns in the instruction
    6. **Address specific visual analysis issues** mentioned in the feedback

    ## Instruction Requirements:
    - **Clear task definition** explaining how to process both visual and textual inputs
    - **Visual analysis guidance** specific to this task (what to look for, how to describe, what features matter)
    - **Integration strategies** for combining visual observations with textual information
    - **Domain-specific knowledge** about visual concepts, terminology, or relationships
    - **Error prevention guidance** for common visual analysis mistakes shown in the feedback
    - **Precise, actionable language** for both visual and textual processing

    Focus on creating an instruction that helps the assistant properly analyze visual content, integrate it with textual information, and avoid the specific visual analysis mistakes shown in the examples."""  # noqa: E501 - the lines of the prompt

    current_instruction = InputField(
        desc="The current instruction that was provided to the assistant to perform the multimodal task"
    )
    examples_with_feedback = InputField(
        desc="Task examples with visual content showing inputs, assistant outputs, and feedback. "
        "Pay special attention to feedback about visual analysis accuracy, visual-textual integration, "
        "and any domain-specific visual knowledge that the assistant missed."
    )

    improved_instruction = OutputField(
        desc="A better instruction for the assistant that addresses visual analysis issues, provides "
        "clear guidance on how to process and integrate visual and textual information, includes "
        "necessary visual domain knowledge, and prevents the visual analysis mistakes shown in the examples."
    )


class SingleComponentMultiModalProposer(Module):
    """Proposes an instruction for one predictor."""

    def __init__(self) -> None:
        super().__init__()
        self.propose_instruction = Predict(GenerateEnhancedMultimodalInstructionFromFeedback)

    async def aforward(self, current_instruction: str, reflective_dataset: Sequence[Mapping[str, Any]]) -> str:
        """The text of a better instruction."""
        text, images = _told(reflective_dataset)
        patterns = _patterns(reflective_dataset)
        text = f"{patterns}\n\n{text}" if patterns else text
        answer = await self.propose_instruction.acall(
            current_instruction=current_instruction, examples_with_feedback=[text, *images] if images else text
        )
        return answer.improved_instruction


class MultiModalInstructionProposer:
    """The proposer: `GEPA(..., instruction_proposer=MultiModalInstructionProposer())`."""

    def __init__(self) -> None:
        self.single_proposer = SingleComponentMultiModalProposer()

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
        """A new instruction for each of these components that are in both."""
        return {
            name: await self.single_proposer.acall(
                current_instruction=candidate[name], reflective_dataset=reflective_dataset[name]
            )
            for name in components_to_update
            if name in candidate and name in reflective_dataset
        }


def _patterns(examples: Sequence[Mapping[str, Any]]) -> str:
    """What kinds of feedback there are, by their words; "" where there are none."""
    feedback = [str(example.get("Feedback", "")).lower() for example in examples]

    def having(words: Sequence[str]) -> int:
        return sum(any(word in each for word in words) for each in feedback)

    errors, successes, gaps = having(_ERROR_WORDS), having(_SUCCESS_WORDS), having(_KNOWLEDGE_WORDS)
    if not (errors or successes or gaps):
        return ""
    parts = ["## Feedback Pattern Analysis\n"]
    if errors:
        parts.append(f"**Common Issues Found ({errors} examples):**")
        parts.append("Focus on preventing these types of mistakes in the new instruction.\n")
    if successes:
        parts.append(f"**Successful Approaches Found ({successes} examples):**")
        parts.append("Build on these successful strategies in the new instruction.\n")
    if gaps:
        parts.append(f"**Domain Knowledge Needs Identified ({gaps} examples):**")
        parts.append("Include this specialized knowledge in the new instruction.\n")
    return "\n".join(parts)


def _told(examples: Sequence[Mapping[str, Any]]) -> tuple[str, list[Any]]:
    """The examples as Markdown with places for their images, and the images in order."""
    images: list[Any] = []
    parts: list[str] = []
    for number, example in enumerate(examples, start=1):
        mine: list[Any] = []
        text = "".join(f"## {key}\n{_markdown(value, 3, mine)}" for key, value in example.items())
        parts.append(f"# Example {number}\n{text}")
        images += mine
    told = "\n\n".join(parts)
    if images:
        told = (
            f"The examples below include visual content ({len(images)} images total). "
            f"Please analyze both the text and visual elements when suggesting improvements.\n\n{told}"
        )
    return told, images


def _markdown(value: Any, level: int, images: list[Any]) -> str:
    if isinstance(value, Type):
        images.append(value)
        return f"[IMAGE-{len(images)} - see visual content]\n\n"
    if isinstance(value, dict):
        parts = cast("dict[Any, Any]", value).items()
    elif isinstance(value, list | tuple):
        parts = [(f"Item {index}", each) for index, each in enumerate(cast("Sequence[Any]", value), start=1)]
    else:
        return f"{str(value).strip()}\n\n"
    below = min(level + 1, _DEEPEST_HEADING)
    return "".join(f"{'#' * level} {key}\n{_markdown(each, below, images)}" for key, each in parts) or "\n"
