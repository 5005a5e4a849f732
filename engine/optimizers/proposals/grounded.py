"""`GroundedProposer`: instructions for every predictor of a program, grounded in its data, its code and its demos.

    proposer = GroundedProposer(prompt_model=lm, program=program, trainset=trainset, rng=random.Random(9))
    proposed = await proposer.apropose_instructions_for_program(trainset, program, demo_candidates, trial_logs={}, N=3)
    proposed[0]                      # three instructions for the first predictor

Prompts, options and the order of requests and random draws are those of dspy 3.4. Constructing one asks no model: the
summary of the data, which dspy makes there, is made before the first proposal, or when `data_summary` is read.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

from ...logs import engine_logger
from ...settings import context, settings
from ...sync import run_sync
from ..trials import together
from .dataset_summary import acreate_dataset_summary
from .module_instruction import GenerateModuleInstruction
from .program_code import get_dspy_source_code
from .texts import create_predictor_level_history_string, strip_prefix

__all__ = ["MAX_INSTRUCT_IN_HISTORY", "TIPS", "GroundedProposer", "Proposer"]

logger = engine_logger("dspex.engine.optimizers.proposals.grounded", dspy="dspy.propose.grounded_proposer")

MAX_INSTRUCT_IN_HISTORY = 5

TIPS = {
    "none": "",
    "creative": "Don't be afraid to be creative when creating the new instruction!",
    "simple": "Keep the instruction clear and concise.",
    "description": "Make sure your instruction is very informative and descriptive.",
    "high_stakes": "The instruction should include a high stakes scenario in which the LM must solve the task!",
    "persona": 'Include a persona that is relevant to the task in the instruction (ie. "You are a ...")',
}


class Proposer(ABC):
    """What proposes instructions."""

    @abstractmethod
    def propose_instructions_for_program(self, *args: Any, **kwargs: Any) -> Any:
        """Instructions for every predictor."""

    def propose_instruction_for_predictor(self, *args: Any, **kwargs: Any) -> Any:
        """One instruction for one predictor."""
        raise NotImplementedError(f"{type(self).__name__} proposes for whole programs only.")


class GroundedProposer(Proposer):
    """Tells a model of the data, the program, demos, a tip and what was tried before, and asks for an instruction."""

    def __init__(
        self,
        prompt_model: Any,
        program: Any,
        trainset: Sequence[Any],
        view_data_batch_size: int = 10,
        use_dataset_summary: bool = True,
        program_aware: bool = True,
        use_task_demos: bool = True,
        num_demos_in_context: int = 3,
        use_instruct_history: bool = True,
        use_tip: bool = True,
        set_tip_randomly: bool = True,
        set_history_randomly: bool = True,
        verbose: bool = False,
        rng: Any = None,
        init_temperature: float = 1.0,
    ) -> None:
        """Say what proposals are grounded in.

        Args:
            prompt_model: the LM that proposes; None: the one of the settings.
            program: what is to be improved; its code is shown when `program_aware`.
            trainset: the data, of which a summary is shown when `use_dataset_summary`.
            view_data_batch_size: examples that the model sees at a time when it observes the data.
            num_demos_in_context: demos shown with a proposal, when `use_task_demos`.
            set_tip_randomly: draw a tip from `TIPS` for each proposal.
            set_history_randomly: draw whether the history of instructions is shown, once for each program.
            verbose: print what is found out on the way.
            rng: a `random.Random`; None: the module `random`, as in dspy.
            init_temperature: temperature of the proposals. Each has a rollout id, drawn from `rng`.
        """
        super().__init__()
        self.program_aware = program_aware
        self.use_dataset_summary = use_dataset_summary
        self.use_task_demos = use_task_demos
        self.num_demos_in_context = num_demos_in_context
        self.use_instruct_history = use_instruct_history
        self.use_tip = use_tip
        self.set_tip_randomly = set_tip_randomly
        self.set_history_randomly = set_history_randomly
        self.verbose = verbose
        self.rng = rng or random
        self.prompt_model = prompt_model if prompt_model else settings.lm
        self.init_temperature = init_temperature
        self.program_code_string: str | None = None
        if program_aware:
            self._read(program)
        self._summary_of = (trainset, view_data_batch_size, prompt_model) if use_dataset_summary else None
        self._data_summary: str | None = None

    def _read(self, program: Any) -> None:
        try:
            self.program_code_string = get_dspy_source_code(program)
        except Exception as error:  # an attribute of the user's that cannot be iterated over or hashed
            logger.warning(f"Error getting source code: {error}.\n\nRunning without program aware proposer.")
            self.program_aware = False
            return
        if self.verbose:
            print("SOURCE CODE:", self.program_code_string)

    @property
    def data_summary(self) -> str | None:
        """The summary of the training set, made when it is first wanted; None without one.

        Raises:
            SyncInsideLoopError: it has not been made and an event loop is running; await `aprepare` there.
        """
        if self._summary_of is not None:
            run_sync(self.aprepare)
        return self._data_summary

    @data_summary.setter
    def data_summary(self, summary: str | None) -> None:
        self._summary_of, self._data_summary = None, summary

    async def aprepare(self) -> None:
        """Make the summary of the training set, once. If it cannot be made, that is logged, and proposals do without."""
        if self._summary_of is None:
            return
        trainset, view_data_batch_size, prompt_model = self._summary_of
        try:
            self._data_summary = await acreate_dataset_summary(trainset, view_data_batch_size, prompt_model)
        except Exception as error:
            logger.warning(f"Error getting data summary: {error}.\n\nRunning without data aware proposer.")
            self.use_dataset_summary = False
        self._summary_of = None
        if self.verbose:
            print(f"DATA SUMMARY: {self._data_summary}")

    def propose_instructions_for_program(
        self,
        trainset: Sequence[Any],
        program: Any,
        demo_candidates: Any,
        trial_logs: Any,
        N: int,
    ) -> dict[int, list[str]]:
        """`apropose_instructions_for_program` from synchronous code."""
        return run_sync(self.apropose_instructions_for_program, trainset, program, demo_candidates, trial_logs, N)

    async def apropose_instructions_for_program(
        self,
        trainset: Sequence[Any],
        program: Any,
        demo_candidates: Any,
        trial_logs: Any,
        N: int,
    ) -> dict[int, list[str]]:
        """For each predictor, by position, `N` instructions, or as many as it has sets of demos if these are fewer.

        Tips and rollout ids are drawn before anything is asked, so that proposals may be made at the same time (in a
        job they are) and are the same in any order.

        Args:
            trainset: not used, as in dspy.
            demo_candidates: for each predictor, by position, its sets of demos; None: proposals without demos.
            trial_logs: what was tried before, for the history of instructions.

        Raises:
            Exception: what the first proposal raised that could not be made.
        """
        await self.aprepare()
        if self.set_history_randomly:
            self.use_instruct_history = self.rng.random() < 0.5
            self._say(f"Use history T/F: {self.use_instruct_history}")
        if not demo_candidates:
            self._say("No demo candidates provided. Running without task demos.")
            self.use_task_demos = False
            sets = N
        else:
            sets = max(len(demo_candidates[0]), 1)
        drawn: list[tuple[int, int, str | None, int]] = []
        calls: list[Any] = []
        for pred_i, _ in enumerate(program.predictors()):
            for demo_set_i in range(min(N, sets)):
                tip = self._draw_tip()
                drawn.append((pred_i, demo_set_i, tip, self._draw_rollout()))
                calls.append(partial(self._propose, program, demo_candidates, trial_logs, *drawn[-1], self.use_tip))
        proposed: dict[int, list[str]] = {}
        for (pred_i, *_), instruction in zip(drawn, await together(calls), strict=True):
            proposed.setdefault(pred_i, []).append(instruction)
        return proposed

    def _draw_tip(self) -> str | None:
        if not self.set_tip_randomly:
            return None
        self._say("Using a randomly generated configuration for our grounded proposer.")
        key = self.rng.choice(list(TIPS))
        self.use_tip = bool(TIPS[key])
        self._say(f"Selected tip: {key}")
        return TIPS[key]

    def _draw_rollout(self) -> int:
        return self.rng.randint(0, 10**9)

    def propose_instruction_for_predictor(
        self,
        program: Any,
        predictor: Any,
        pred_i: int,
        demo_candidates: Any,
        demo_set_i: int,
        trial_logs: Any,
        tip: str | None = None,
    ) -> str:
        """`apropose_instruction_for_predictor` from synchronous code."""
        return run_sync(
            self.apropose_instruction_for_predictor,
            program,
            predictor,
            pred_i,
            demo_candidates,
            demo_set_i,
            trial_logs,
            tip,
        )

    async def apropose_instruction_for_predictor(
        self,
        program: Any,
        predictor: Any,
        pred_i: int,
        demo_candidates: Any,
        demo_set_i: int,
        trial_logs: Any,
        tip: str | None = None,
    ) -> str:
        """One instruction for the predictor at `pred_i`. Raises what the proposing request raises."""
        await self.aprepare()
        return await self._propose(
            program, demo_candidates, trial_logs, pred_i, demo_set_i, tip, self._draw_rollout(), self.use_tip
        )

    async def _propose(
        self,
        program: Any,
        demo_candidates: Any,
        trial_logs: Any,
        pred_i: int,
        demo_set_i: int,
        tip: str | None,
        rollout_id: int,
        use_tip: bool,
    ) -> str:
        history = create_predictor_level_history_string(program, pred_i, trial_logs, MAX_INSTRUCT_IN_HISTORY)
        generator = GenerateModuleInstruction(
            program_code_string=self.program_code_string,
            use_dataset_summary=self.use_dataset_summary,
            program_aware=self.program_aware,
            use_task_demos=self.use_task_demos and demo_candidates,
            use_instruct_history=self.use_instruct_history and history,
            use_tip=use_tip,
            verbose=self.verbose,
        )
        with context(lm=self.prompt_model.copy(rollout_id=rollout_id, temperature=self.init_temperature)):
            proposal = await generator.acall(
                demo_candidates=demo_candidates,
                pred_i=pred_i,
                demo_set_i=demo_set_i,
                program=program,
                data_summary=self._data_summary,
                previous_instructions=history,
                num_demos_in_context=self.num_demos_in_context,
                tip=tip,
            )
        self._say(f"PROPOSED INSTRUCTION: {proposal.proposed_instruction}")
        return strip_prefix(proposal.proposed_instruction)

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text)
