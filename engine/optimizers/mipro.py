"""`MIPROv2`: instructions written by a model and demos bootstrapped from the program, chosen together by Optuna.

    optimizer = MIPROv2(metric=answer_exact_match, auto="light")
    better = await optimizer.acompile(program, trainset=trainset)      # or optimizer.compile(...)

Three steps, as in dspy 3.4: sets of demos (`few_shot_sets.py`), instructions for every predictor (`proposals/`), and a
search over combinations of both (`mipro_search.py`). Budgets, defaults, prompts, random draws, log records and what is
kept of the trials are those of dspy.
"""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ..evaluation import Evaluate
from ..lm.extras import require
from ..logs import engine_logger
from ..settings import context, settings
from .candidates import create_minibatch
from .few_shot_sets import acreate_n_fewshot_demo_sets
from .mipro_search import PromptSearch
from .proposals import GroundedProposer
from .requirements import require_examples, require_metric, require_predictors
from .teleprompter import Teleprompter
from .trials import keep_draft, plan_trials, together

__all__ = ["AUTO_RUN_SETTINGS", "MIPROv2"]

logger = engine_logger("dspex.engine.optimizers.mipro", dspy="dspy.teleprompt.mipro_optimizer_v2")

BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT = 3
LABELED_FEWSHOT_EXAMPLES_IN_CONTEXT = 0
MIN_MINIBATCH_SIZE = 50

AUTO_RUN_SETTINGS = {
    "light": {"n": 6, "val_size": 100},
    "medium": {"n": 12, "val_size": 300},
    "heavy": {"n": 18, "val_size": 1000},
}
"""By budget: candidates, and the most examples that programs are scored on."""

_MAX_VALSET = 1000
_VALSET_SHARE = 0.80


@dataclass(frozen=True, slots=True)
class _Budget:
    """How much one compilation tries."""

    num_trials: int
    valset: Sequence[Any]
    minibatch: bool
    num_instruct_candidates: int
    num_fewshot_candidates: int


class MIPROv2(Teleprompter):
    """Searches over instructions and demos of all predictors at once. Needs the extra `optimizers`."""

    def __init__(
        self,
        metric: Callable[..., Any],
        prompt_model: Any | None = None,
        task_model: Any | None = None,
        teacher_settings: dict[str, Any] | None = None,
        max_bootstrapped_demos: int = 4,
        max_labeled_demos: int = 4,
        auto: Literal["light", "medium", "heavy"] | None = "light",
        num_candidates: int | None = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        seed: int = 9,
        init_temperature: float = 1.0,
        verbose: bool = False,
        track_stats: bool = True,
        log_dir: str | None = None,
        metric_threshold: float | None = None,
    ) -> None:
        """Describe the search; parameters not named here are those of `BootstrapFewShot`.

        Args:
            prompt_model: the LM that writes instructions; None: the one of the settings now.
            task_model: the LM that runs the program; None: the one of the settings now.
            max_bootstrapped_demos, max_labeled_demos: demos of a predictor; both 0: only instructions are searched.
            auto: the budget; None: `num_candidates` here and `num_trials` of `compile` are it.
            num_candidates: instructions, and sets of demos, to choose from.
            num_threads: examples that are evaluated at a time.
            seed: of every random choice.
            init_temperature: temperature of the requests that write instructions.
            verbose: print what is found out on the way.
            track_stats: keep the trials on the program that comes out.
            log_dir: a folder for the state of every candidate.

        Raises:
            ValueError: `auto` is none of the budgets, or there is no LM.
        """
        if auto not in (None, *AUTO_RUN_SETTINGS):
            allowed = ", ".join(map(repr, (None, *AUTO_RUN_SETTINGS)))
            raise ValueError(f"Invalid value for auto: {auto}. Must be one of {{{allowed}}}.")
        self.auto = auto
        self.num_fewshot_candidates = num_candidates
        self.num_instruct_candidates = num_candidates
        self.num_candidates = num_candidates
        self.metric = metric
        self.init_temperature = init_temperature
        self.task_model = task_model if task_model else settings.get("lm")
        self.prompt_model = prompt_model if prompt_model else settings.get("lm")
        self.max_bootstrapped_demos = max_bootstrapped_demos
        self.max_labeled_demos = max_labeled_demos
        self.verbose = verbose
        self.track_stats = track_stats
        self.log_dir = log_dir
        self.teacher_settings: dict[str, Any] = teacher_settings or {}
        self.prompt_model_total_calls = 0
        self.total_calls = 0
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.metric_threshold = metric_threshold
        self.seed = seed
        self.rng: random.Random | None = None
        if not self.prompt_model or not self.task_model:
            raise ValueError(
                "Either provide both prompt_model and task_model or set a default LM through dspy.configure(lm=...)"
            )

    async def acompile(
        self,
        student: Any,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
        num_trials: int | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
        seed: int | None = None,
        minibatch: bool = True,
        minibatch_size: int = 35,
        minibatch_full_eval_steps: int = 5,
        program_aware_proposer: bool = True,
        data_aware_proposer: bool = True,
        view_data_batch_size: int = 10,
        tip_aware_proposer: bool = True,
        fewshot_aware_proposer: bool = True,
        requires_permission_to_run: bool | None = None,
        provide_traceback: bool | None = None,
    ) -> Any:
        """The program that did best on the whole validation set; the student is not changed.

        Args:
            trainset: examples for demos and for the summary of the data.
            teacher: the program that demos are bootstrapped from; None: the student.
            valset: what programs are scored on; None: the last 80 % of the training set (at most 1000), taken out of it.
            num_trials: combinations that are tried; only without `auto`.
            max_bootstrapped_demos, max_labeled_demos, seed: instead of the optimizer's own. A seed of 0 counts as none,
                as in dspy.
            minibatch: score combinations on `minibatch_size` examples, and every `minibatch_full_eval_steps` trials the
                one with the best average on all. With `auto`, it is used for more than 50 examples.
            program_aware_proposer, data_aware_proposer, tip_aware_proposer, fewshot_aware_proposer: what the model that
                writes instructions is told of.
            view_data_batch_size: examples that it sees at a time.
            requires_permission_to_run: deprecated. Nothing is ever asked for on a terminal.
            provide_traceback: log failing examples with their tracebacks.

        Returns:
            A program; with `track_stats` its attributes are `score`, `trial_logs` (by number of trial, dicts as dspy
            keeps them), `candidate_programs` and `mb_candidate_programs` (scored on all examples, and on minibatches;
            dicts of score, program and full_eval, best first).

        Raises:
            ValueError: arguments that exclude each other, or lack one another; no examples or too few; no metric, no
                predictors; permission was asked for.
            MissingExtra: Optuna is not installed.
            NothingScored: every example of every candidate failed.
            Exception: what bootstrapping or writing an instruction raised. A candidate that cannot be evaluated has the
                score 0 and does not end the search, as in dspy.
        """
        if requires_permission_to_run is not None:
            _refuse_questions(requires_permission_to_run)
        bootstrapped = self.max_bootstrapped_demos if max_bootstrapped_demos is None else max_bootstrapped_demos
        labeled = self.max_labeled_demos if max_labeled_demos is None else max_labeled_demos
        zeroshot = bootstrapped == 0 and labeled == 0
        self._check_budget(student, num_trials, zeroshot)
        require_metric(self, self.metric)
        require_predictors(self, student)
        seed = seed or self.seed
        rng = self.rng = random.Random(seed)
        trainset, valset = self._split(trainset, valset)
        budget = self._budget(student, num_trials, minibatch, zeroshot, valset)
        if budget.minibatch and minibatch_size > len(budget.valset):
            raise ValueError(
                f"Minibatch size cannot exceed the size of the valset. Valset size: {len(budget.valset)}."
            )
        if minibatch_size < 1 or minibatch_full_eval_steps < 1:
            raise ValueError("minibatch_size and minibatch_full_eval_steps must be at least 1.")
        optuna = await require("optuna", extra="optimizers", purpose="MIPROv2")

        program = student.deepcopy()
        max_errors: int = self.max_errors if self.max_errors is not None else settings.max_errors
        evaluate = Evaluate(
            devset=budget.valset,
            metric=self.metric,
            num_threads=self.num_threads,
            max_errors=max_errors,
            provide_traceback=provide_traceback,
        )
        proposer = GroundedProposer(
            program=program,
            trainset=trainset,
            prompt_model=self.prompt_model,
            view_data_batch_size=view_data_batch_size,
            program_aware=program_aware_proposer,
            use_dataset_summary=data_aware_proposer,
            use_task_demos=fewshot_aware_proposer,
            num_demos_in_context=BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT,
            use_tip=tip_aware_proposer,
            set_tip_randomly=tip_aware_proposer,
            use_instruct_history=False,
            set_history_randomly=False,
            verbose=self.verbose,
            rng=rng,
            init_temperature=self.init_temperature,
        )

        async def bootstrap() -> dict[int, list[list[Any]]]:
            with context(lm=self.task_model):
                return await self._demo_sets(
                    program, trainset, seed, teacher, budget, bootstrapped, labeled, max_errors
                )

        # The model that observes the data needs no demos for it.
        first: list[Callable[[], Awaitable[Any]]] = [bootstrap, partial(self._observe, proposer)]
        sets, _ = await together(first)
        keep_draft(lambda: program if zeroshot else _with_demos(program, sets))
        instructions = await self._instructions(proposer, program, trainset, sets, budget.num_instruct_candidates)
        search = PromptSearch(
            optuna=optuna,
            program=program,
            instructions=instructions,
            demo_sets=None if zeroshot else sets,
            evaluate=evaluate,
            valset=budget.valset,
            num_trials=budget.num_trials,
            minibatch_size=minibatch_size if budget.minibatch else None,
            full_eval_steps=minibatch_full_eval_steps,
            seed=seed,
            rng=rng,
            log_dir=self.log_dir,
            verbose=self.verbose,
        )
        with context(lm=self.task_model):
            best = await search.run()
        search.scores.require_some(self, best)
        if self.track_stats:
            search.attach_statistics(best)
            # Of these dspy has the names and never counts.
            best.prompt_model_total_calls, best.total_calls = self.prompt_model_total_calls, self.total_calls
        logger.info(f"Returning best identified program with score {search.best_score}!")
        return best

    # -- the budget --------------------------------------------------------------------------------------------------

    def _check_budget(self, student: Any, num_trials: int | None, zeroshot: bool) -> None:
        if (self.num_candidates is not None and self.num_candidates < 1) or (num_trials is not None and num_trials < 0):
            raise ValueError(
                f"num_candidates must be at least 1 and num_trials at least 0, not {self.num_candidates} and {num_trials}."
            )
        if self.auto is None:
            if self.num_candidates is not None and num_trials is None:
                advised = _advised_trials(student, zeroshot, self.num_candidates)
                raise ValueError(
                    "If auto is None, num_trials must also be provided. Given num_candidates="
                    f"{self.num_candidates}, we'd recommend setting num_trials to ~{advised}."
                )
            if self.num_candidates is None or num_trials is None:
                raise ValueError("If auto is None, num_candidates must also be provided.")
        elif self.num_candidates is not None or num_trials is not None:
            raise ValueError(
                "If auto is not None, num_candidates and num_trials cannot be set, since they would be overridden by the "
                "auto settings. Please either set auto to None, or do not specify num_candidates and num_trials."
            )

    def _split(
        self, trainset: Sequence[Any], valset: Sequence[Any] | None
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        if not trainset:
            raise ValueError("Trainset cannot be empty.")
        require_examples(self, trainset)
        if valset is not None:
            if len(valset) < 1:
                raise ValueError("Validation set must have at least 1 example.")
            require_examples(self, valset, what="valset")
            return trainset, valset
        if len(trainset) < 2:
            raise ValueError("Trainset must have at least 2 examples if no valset specified.")
        cutoff = len(trainset) - min(_MAX_VALSET, max(1, int(len(trainset) * _VALSET_SHARE)))
        return trainset[:cutoff], trainset[cutoff:]

    def _budget(
        self, student: Any, num_trials: int | None, minibatch: bool, zeroshot: bool, valset: Sequence[Any]
    ) -> _Budget:
        if self.auto is None:
            assert num_trials is not None
            assert self.num_candidates is not None
            return _Budget(num_trials, valset, minibatch, self.num_candidates, self.num_candidates)
        run = AUTO_RUN_SETTINGS[self.auto]
        valset = create_minibatch(valset, batch_size=run["val_size"], rng=self.rng)
        budget = _Budget(
            num_trials=_advised_trials(student, zeroshot, run["n"]),
            valset=valset,
            minibatch=len(valset) > MIN_MINIBATCH_SIZE,
            # With demos to choose from, fewer instructions.
            num_instruct_candidates=run["n"] if zeroshot else int(run["n"] * 0.5),
            num_fewshot_candidates=run["n"],
        )
        logger.info(
            f"\nRUNNING WITH THE FOLLOWING {self.auto.upper()} AUTO RUN SETTINGS:"
            f"\nnum_trials: {budget.num_trials}"
            f"\nminibatch: {budget.minibatch}"
            f"\nnum_fewshot_candidates: {budget.num_fewshot_candidates}"
            f"\nnum_instruct_candidates: {budget.num_instruct_candidates}"
            f"\nvalset size: {len(valset)}\n"
        )
        return budget

    # -- the candidates ----------------------------------------------------------------------------------------------

    async def _demo_sets(
        self,
        program: Any,
        trainset: Sequence[Any],
        seed: int,
        teacher: Any,
        budget: _Budget,
        bootstrapped: int,
        labeled: int,
        max_errors: int,
    ) -> dict[int, list[list[Any]]]:
        plan_trials(None, phase="bootstrap")
        logger.info("\n==> STEP 1: BOOTSTRAP FEWSHOT EXAMPLES <==")
        if bootstrapped > 0:
            logger.info(
                "These will be used as few-shot example candidates for our program and for creating instructions.\n"
            )
        else:
            logger.info("These will be used for informing instruction proposal.\n")
        logger.info(f"Bootstrapping N={budget.num_fewshot_candidates} sets of demonstrations...")
        zeroshot = bootstrapped == 0 and labeled == 0
        return await acreate_n_fewshot_demo_sets(
            student=program,
            num_candidate_sets=budget.num_fewshot_candidates,
            trainset=trainset,
            max_labeled_demos=LABELED_FEWSHOT_EXAMPLES_IN_CONTEXT if zeroshot else labeled,
            max_bootstrapped_demos=BOOTSTRAPPED_FEWSHOT_EXAMPLES_IN_CONTEXT if zeroshot else bootstrapped,
            metric=self.metric,
            max_errors=max_errors,
            teacher=teacher,
            teacher_settings=self.teacher_settings,
            seed=seed,
            metric_threshold=self.metric_threshold,
            rng=self.rng,
        )

    async def _observe(self, proposer: GroundedProposer) -> None:
        logger.info("\n==> STEP 2: PROPOSE INSTRUCTION CANDIDATES <==")
        logger.info(
            "We will use the few-shot examples from the previous step, a generated dataset summary, a summary of the "
            "program code, and a randomly selected prompting tip to propose instructions."
        )
        await proposer.aprepare()

    async def _instructions(
        self, proposer: GroundedProposer, program: Any, trainset: Sequence[Any], sets: Any, count: int
    ) -> dict[int, list[str]]:
        """For each predictor its own instructions first, then those written for it."""
        plan_trials(None, phase="propose")
        logger.info(f"\nProposing N={count} instructions...\n")
        proposed = await proposer.apropose_instructions_for_program(
            trainset=trainset, program=program, demo_candidates=sets, N=count, trial_logs={}
        )
        for index, predictor in enumerate(program.predictors()):
            logger.info(f"Proposed Instructions for Predictor {index}:\n")
            proposed[index][0] = predictor.signature.instructions
            for number, instruction in enumerate(proposed[index]):
                logger.info(f"{number}: {instruction}\n")
            logger.info("\n")
        return proposed


def _with_demos(program: Any, sets: dict[int, list[list[Any]]]) -> Any:
    """The program with the demos that were bootstrapped from the examples in order, or from as few sets as there are."""
    made = program.deepcopy()
    for index, predictor in enumerate(made.predictors()):
        predictor.demos = sets[index][:3][-1]
    return made


def _advised_trials(program: Any, zeroshot: bool, num_candidates: int) -> int:
    """Trials for so many candidates: the more choices are made together, the more."""
    choices = len(program.predictors()) * (1 if zeroshot else 2)
    return int(max(2 * choices * math.log2(num_candidates), 1.5 * num_candidates))


def _refuse_questions(requires_permission_to_run: bool) -> None:
    if requires_permission_to_run:
        raise ValueError(
            "User confirmation is removed from MIPROv2. Please remove the 'requires_permission_to_run' argument."
        )
    logger.warning("'requires_permission_to_run' is deprecated and will be removed in a future version.")
