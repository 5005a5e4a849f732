"""One new instruction for one predictor: the program is described, then the predictor, then the model proposes.

Prompts are those of dspy 3.4: what a proposal is told of (data, code, demos, history, a tip) decides which fields its
signature has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ...example import Prediction
from ...logs import engine_logger
from ...module import Module
from ...predict import Predict
from ...signatures import InputField, OutputField, Signature, make_signature
from .texts import create_example_string, strip_prefix

__all__ = ["DescribeModule", "DescribeProgram", "GenerateModuleInstruction", "generate_instruction_class"]

logger = engine_logger("dspex.engine.optimizers.proposals.module_instruction", dspy="dspy.propose.grounded_proposer")

_NO_DEMOS = "No task demos provided."


class DescribeProgram(Signature):
    """Below is some pseudo-code for a pipeline that solves tasks with calls to language models. Please describe what type of task this program appears to be designed to solve, and how it appears to work."""  # noqa: E501

    program_code = InputField(desc="Pseudocode for a language model program designed to solve a particular task.")
    program_example = InputField(desc="An example of the program in use.")
    program_description = OutputField(
        desc="Describe what task the program is designed to solve, and how it goes about solving this task."
    )


class DescribeModule(Signature):
    """Below is some pseudo-code for a pipeline that solves tasks with calls to language models. Please describe the purpose of one of the specified module in this pipeline."""  # noqa: E501

    program_code = InputField(desc="Pseudocode for a language model program designed to solve a particular task.")
    program_example = InputField(desc="An example of the program in use.")
    program_description = InputField(
        desc="Summary of the task the program is designed to solve, and how it goes about solving it."
    )
    module = InputField(desc="The module in the program that we want to describe.")
    module_description = OutputField(desc="Description of the module's role in the broader program.")


_PROPOSE = (
    "Use the information below to learn about a task that we are trying to solve using calls to an LM, then generate a "
    "new instruction that will be used to prompt a Language Model to better solve the task."
)
_DATA = {"dataset_description": "A description of the dataset that we are using."}
_PROGRAM = {
    "program_code": "Language model program designed to solve a particular task.",
    "program_description": "Summary of the task the program is designed to solve, and how it goes about solving it.",
    "module": "The module to create an instruction for.",
    "module_description": "Description of the module to create an instruction for.",
}
_DEMOS = {"task_demos": "Example inputs/outputs of our module."}
_HISTORY = {"previous_instructions": "Previous instructions we've attempted, along with their associated scores."}
_BASIC = {"basic_instruction": "Basic instruction."}
_TIP = {"tip": "A suggestion for how to go about generating the new instruction."}
_PROPOSED = "Propose an instruction that will be used to prompt a Language Model to perform this task."


def generate_instruction_class(
    use_dataset_summary: Any = True,
    program_aware: Any = True,
    use_task_demos: Any = True,
    use_instruct_history: Any = True,
    use_tip: Any = True,
) -> Predict:
    """The predictor that proposes, with a field for each thing that it is told. Demos always have one, as in dspy."""
    told = {
        **(_DATA if use_dataset_summary else {}),
        **(_PROGRAM if program_aware else {}),
        **_DEMOS,
        **(_HISTORY if use_instruct_history else {}),
        **_BASIC,
        **(_TIP if use_tip else {}),
    }
    fields: dict[str, Any] = {name: InputField(desc=desc) for name, desc in told.items()}
    fields["proposed_instruction"] = OutputField(desc=_PROPOSED)
    return Predict(make_signature(fields, _PROPOSE, "GenerateSingleModuleInstruction"))


class GenerateModuleInstruction(Module):
    """Makes one proposal."""

    def __init__(
        self,
        program_code_string: str | None = None,
        use_dataset_summary: Any = True,
        program_aware: Any = False,
        use_task_demos: Any = True,
        use_instruct_history: Any = True,
        use_tip: Any = True,
        verbose: bool = False,
    ) -> None:
        """Say what the proposal is told of. The flags may be any value that is true or false.

        Args:
            program_code_string: the program as text (`get_dspy_source_code`).
            verbose: print what is found out on the way.
        """
        super().__init__()
        self.use_dataset_summary = use_dataset_summary
        self.program_aware = program_aware
        self.use_task_demos = use_task_demos
        self.use_instruct_history = use_instruct_history
        self.use_tip = use_tip
        self.verbose = verbose
        self.program_code_string = program_code_string
        self.describe_program = Predict(DescribeProgram)
        self.describe_module = Predict(DescribeModule)
        self.generate_module_instruction = generate_instruction_class(
            use_dataset_summary=use_dataset_summary,
            program_aware=program_aware,
            use_task_demos=use_task_demos,
            use_instruct_history=use_instruct_history,
            use_tip=use_tip,
        )

    async def aforward(
        self,
        demo_candidates: Any,
        pred_i: int,
        demo_set_i: int,
        program: Any,
        previous_instructions: str | None,
        data_summary: str | None,
        num_demos_in_context: int = 3,
        tip: str | None = None,
    ) -> Prediction:
        """Propose.

        Args:
            demo_candidates: for each predictor, its sets of demos.
            pred_i: the predictor, by position.
            demo_set_i: the set whose demos come first. The first set shows none.
            num_demos_in_context: how many demos are shown.

        Returns:
            A prediction with `proposed_instruction`.

        Raises:
            Exception: what the proposing request raised. Where the program cannot be described, that is logged and the
            proposal made without a description.
        """
        predictor = program.predictors()[pred_i]
        task_demos = ""
        if self.use_task_demos:
            sets = demo_candidates[pred_i]
            turned = [sets[demo_set_i], *sets[demo_set_i + 1 :], *sets[:demo_set_i]]
            shown = islice(_bootstrapped(turned, predictor.signature.fields), num_demos_in_context)
            task_demos = "\n\n".join(shown) + "\n\n"
        if not task_demos.strip() or demo_set_i == 0:
            task_demos = _NO_DEMOS
        told: dict[str, Any] = {
            "dataset_description": data_summary,
            "program_code": self.program_code_string,
            "program_description": "Not available",
            "module": "Not provided",
            "module_description": "Not provided",
            "task_demos": task_demos,
            "previous_instructions": previous_instructions,
            "basic_instruction": predictor.signature.instructions,
            "tip": tip,
        }
        if self.program_aware:
            try:
                await self._describe(predictor, told)
            except Exception as error:
                logger.warning(f"The program could not be described ({error}); proposing without its description.")
                self.program_aware = False
        if self.verbose:
            print(f"task_demos {task_demos}")
        wanted = self.generate_module_instruction.signature.input_fields
        proposal = await self.generate_module_instruction.acall(**{name: told[name] for name in wanted})
        return Prediction(proposed_instruction=strip_prefix(proposal.proposed_instruction))

    async def _describe(self, predictor: Any, told: dict[str, Any]) -> None:
        """Fill in what the program does, and the predictor in it; each as soon as it is known."""
        about = {"program_code": self.program_code_string, "program_example": told["task_demos"]}
        described = await self.describe_program.acall(**about)
        told["program_description"] = strip_prefix(described.program_description)
        if self.verbose:
            print(f"PROGRAM DESCRIPTION: {told['program_description']}")
        signature = predictor.signature
        told["module"] = (
            f"{type(predictor).__name__}({', '.join(signature.input_fields)}) -> {', '.join(signature.output_fields)}"
        )
        described = await self.describe_module.acall(
            **about, program_description=told["program_description"], module=told["module"]
        )
        told["module_description"] = described.module_description


def _bootstrapped(sets: Sequence[Sequence[Any]], fields: Any) -> Iterator[str]:
    """Demos of a program at work, which say more than plain examples."""
    for demos in sets:
        for demo in demos:
            if "augmented" in demo.keys():  # noqa: SIM118 - an Example contains other things too
                yield create_example_string(fields, demo)
