"""`BetterTogether`: optimizers one after the other, each on the result of the one before, and the best of all results.

    optimizer = BetterTogether(metric=metric, demos=BootstrapFewShot(metric=metric), text=GEPA(...))
    student.set_lm(lm)
    better = await optimizer.acompile(student, trainset=trainset, valset=valset, strategy="demos -> text -> demos")

As dspy 3.4, for optimizers that do not train weights: a strategy that names one that does is refused before anything runs.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import anyio

from ..evaluation import Evaluate
from ..example import Prediction
from ..logs import engine_logger
from ..module import Module
from ..off_loop import call_off_loop, in_thread
from ..predict import Predict
from ..settings import settings
from .errors import TrainsetError, require_examples
from .random_search import BootstrapFewShotWithRandomSearch
from .teleprompter import Teleprompter
from .trials import plan_trials, trial
from .weights import BootstrapFinetune, FinetuneTeleprompter, weights_not_trained

__all__ = ["BetterTogether"]

logger = engine_logger("dspex.engine.optimizers.better_together", dspy="dspy.teleprompt.bettertogether")

# The colours of a terminal, as dspy's records have them.
YELLOW = "\033[93m"
GREEN = "\033[92m"
BLUE = "\033[94m"
BOLD = "\033[1m"
ENDC = "\033[0m"


class BetterTogether(Teleprompter):
    """A sequence of optimizers."""

    STRAT_SEP: ClassVar[str] = " -> "

    def __init__(self, metric: Callable[..., Any], **optimizers: Teleprompter) -> None:
        """Describe the steps.

        Args:
            metric: scores the result of each step.
            **optimizers: by the names that a strategy uses. None: `p`, a `BootstrapFewShotWithRandomSearch`, and `w`, a
                `BootstrapFinetune`, which the engine refuses to run.

        Raises:
            TypeError: one is not an optimizer.
        """
        self.metric = metric
        if not optimizers:
            logger.info(
                "No optimizers provided. Using defaults: "
                "BootstrapFewShotWithRandomSearch (p) and BootstrapFinetune (w). "
                "You can use the letters p and w to specify the compile strategy. "
                "For example, to run weight optimization after prompt optimization, use strategy='p -> w'."
            )
            optimizers = {
                "p": BootstrapFewShotWithRandomSearch(metric=metric),
                "w": BootstrapFinetune(metric=metric),
            }
        for key, optimizer in optimizers.items():
            if not isinstance(cast("object", optimizer), Teleprompter):
                raise TypeError(f"Optimizer '{key}' must be a Teleprompter, got {type(optimizer).__name__}")
        self.optimizers: dict[str, Teleprompter] = optimizers

    async def acompile(
        self,
        student: Any,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
        num_threads: int | None = None,
        max_errors: int | None = None,
        provide_traceback: bool | None = None,
        seed: int | None = None,
        valset_ratio: float = 0.1,
        shuffle_trainset_between_steps: bool = True,
        strategy: str = "p -> w -> p",
        optimizer_compile_args: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Any:
        """The best program found, the student itself included; without a validation set the last.

        Its `candidate_programs` lists all, best first: dicts of score, program and strategy (the steps that led to it). Its
        `flag_compilation_error_occurred` says whether a step failed, which ends the sequence.

        Args:
            student: each of its predictors must have an LM of its own (`student.set_lm(lm)`).
            teacher: a program or a list of programs, for the optimizers that take one.
            valset: what results are compared on; default the first part of the training set, `valset_ratio` of it.
            num_threads, max_errors, provide_traceback: of the evaluations.
            seed: shuffles the training set; None: differently each time.
            shuffle_trainset_between_steps: shuffle it before each step.
            strategy: names of optimizers, separated by " -> ".
            optimizer_compile_args: for each name, further arguments of its `compile`.

        Raises:
            ValueError: the student is compiled already or lacks an LM; a strategy, ratio or argument that does not fit.
            TrainsetError: no examples, or one that is none.
            WeightsNotTrained: the strategy trains weights.
        """
        logger.info(f"\n{BOLD}==> BETTERTOGETHER COMPILATION STARTED <=={ENDC}")
        logger.info(f"{BLUE}Strategy:{ENDC} {strategy}")
        logger.info(f"{BLUE}Trainset size:{ENDC} {len(trainset)}")
        logger.info(f"{BLUE}Validation ratio:{ENDC} {valset_ratio if valset is None else 'using provided valset'}")
        teachers = _prepared(student, teacher)
        train, val = _split(trainset, valset, valset_ratio)
        steps = self._steps(strategy)
        arguments = self._compile_args(optimizer_compile_args, teachers)
        for step in dict.fromkeys(steps):
            if isinstance(self.optimizers[step], FinetuneTeleprompter):
                raise weights_not_trained(f"Step '{step}' of the strategy '{strategy}', {_name(self.optimizers[step])},")
        sequence = _Sequence(self, student, teachers, train, val, random.Random(seed), arguments)
        sequence.evaluate = Evaluate(
            devset=val or train,
            metric=self.metric,
            num_threads=num_threads,
            max_errors=max_errors if max_errors is not None else settings.max_errors,
            provide_traceback=provide_traceback,
        )
        best = await sequence.run(steps, shuffle=shuffle_trainset_between_steps)
        first = best.candidate_programs[0]
        logger.info(f"\n{BOLD}{GREEN}==> BETTERTOGETHER COMPILATION COMPLETE <=={ENDC}")
        logger.info(f"{GREEN}Best score achieved:{ENDC} {first['score']}")
        logger.info(f"{GREEN}Best strategy:{ENDC} {first['strategy'] or 'original (no optimization)'}")
        best._compiled = True
        return best

    def _steps(self, strategy: str) -> list[str]:
        if not strategy or not strategy.strip():
            raise ValueError("strategy cannot be empty")
        steps = strategy.split(self.STRAT_SEP)
        unknown = [step for step in steps if step not in self.optimizers]
        if unknown:
            raise ValueError(
                f"Strategy contains invalid optimizer keys: {unknown}. Valid keys are: {list(self.optimizers)}"
            )
        return steps

    def _compile_args(
        self, given: Mapping[str, Mapping[str, Any]] | None, teachers: list[Any] | None
    ) -> Mapping[str, Mapping[str, Any]]:
        logger.info(f"{BLUE}Validating optimizer compile arguments...{ENDC}")
        for key, arguments in (given or {}).items():
            if key not in self.optimizers:
                raise ValueError(f"Invalid optimizer key '{key}'. Valid keys are: {list(self.optimizers)}")
            optimizer = self.optimizers[key]
            if "student" in arguments:
                raise ValueError(
                    f"'student' is not allowed in optimizer_compile_args for optimizer '{key}'. "
                    "The same student is used throughout compilation."
                )
            taken = list(inspect.signature(optimizer.compile).parameters)
            unknown = sorted(set(arguments) - set(taken))
            if unknown:
                raise ValueError(
                    f"Invalid compile arguments for optimizer '{key}': {unknown}. "
                    f"{_name(optimizer)}.compile() accepts: {taken}"
                )
            if _name(optimizer) == "GEPA" and teachers is not None:
                raise ValueError("GEPA does not accept a teacher argument. Please remove the teacher argument.")
        return given or {}


class _Sequence:
    """One compilation."""

    evaluate: Evaluate

    def __init__(
        self,
        how: BetterTogether,
        student: Any,
        teachers: list[Any] | None,
        trainset: list[Any],
        valset: list[Any] | None,
        rng: random.Random,
        arguments: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.how = how
        self.student = student
        self.teachers = teachers
        self.trainset = trainset
        self.valset = valset
        self.rng = rng
        self.arguments = arguments
        self.candidates: list[dict[str, Any]] = []

    async def run(self, steps: Sequence[str], *, shuffle: bool) -> Any:
        plan_trials(len(steps) + 1, phase="search")
        await self._for_each_lm("launch")
        try:
            failed = await self._run(steps, shuffle=shuffle)
        finally:
            with anyio.CancelScope(shield=True):  # or a server of a local model would be left behind
                await self._for_each_lm("kill")
        return self._best(failed)

    async def _for_each_lm(self, method: str) -> None:
        """Models that are served for the program alone are started and stopped; for all others this does nothing. (dspy
        fails here for an LM of one's own, which has no such methods.)
        """
        lms = {id(predictor.lm): predictor.lm for predictor in self.student.predictors()}
        for lm in lms.values():
            if hasattr(lm, method):
                await in_thread(getattr(lm, method))

    async def _run(self, steps: Sequence[str], *, shuffle: bool) -> bool:
        logger.info(f"\n{BOLD}==> BASELINE EVALUATION <=={ENDC}")
        logger.info("Evaluating original program (no optimization applied)")
        score = await self._score("")
        logger.info(f"{YELLOW}Baseline score:{ENDC} {score}")
        failed = False
        for number, step in enumerate(steps, start=1):
            try:
                await self._step(number, steps, step, shuffle=shuffle)
            except Exception as error:
                failed = True
                logger.error(
                    f"{YELLOW}Step {number}/{len(steps)} failed with error: {type(error).__name__}: {error}{ENDC}"
                )
                logger.error(
                    f"{YELLOW}Stopping optimization early. Returning best program found so far from "
                    f"{len(self.candidates)} candidate(s).{ENDC}"
                )
                logger.error(f"{YELLOW}Traceback:{ENDC}", exc_info=True)
                break
        return failed

    async def _step(self, number: int, steps: Sequence[str], step: str, *, shuffle: bool) -> None:
        optimizer = self.how.optimizers[step]
        done = self.how.STRAT_SEP.join(steps[:number])
        logger.info(f"\n{BOLD}==> STEP {number}/{len(steps)}: {_name(optimizer).upper()} <=={ENDC}")
        logger.info(f"{BLUE}Current strategy:{ENDC} '{done}'")
        logger.info(f"{BLUE}Optimizer:{ENDC} {_name(optimizer)}")
        if shuffle:
            logger.info(f"{BLUE}Shuffling trainset...{ENDC}")
            self.rng.shuffle(self.trainset)
        lms = [predictor.lm for predictor in self.student.predictors()]
        self.student._compiled = False
        logger.info(f"{BLUE}Running {_name(optimizer)} with {len(self.trainset)} training examples...{ENDC}")
        self.student = await self._compiled_by(optimizer, self.arguments.get(step, {}))
        predictors = self.student.predictors()
        if not all(predictor.lm for predictor in predictors):
            logger.warning(
                f"{YELLOW}Warning: {_name(optimizer)} incorrectly reset predictor LMs. Restoring to original LMs.{ENDC}"
            )
            for predictor, lm in zip(predictors, lms, strict=False):
                predictor.lm = lm
        score = await self._score(done)
        known = [each["score"] for each in self.candidates if each["score"] is not None]
        if score is not None and score >= max(known):
            logger.info(f"{GREEN}New best score!{ENDC} {score} (strategy: '{done}')")
        else:
            logger.info(f"{YELLOW}Score after optimization:{ENDC} {score}")

    async def _compiled_by(self, optimizer: Teleprompter, arguments: Mapping[str, Any]) -> Any:
        # dspy hands the list on, which no optimizer of prompts takes.
        teacher = self.teachers[0] if self.teachers is not None and len(self.teachers) == 1 else self.teachers
        offered = {"trainset": self.trainset, "teacher": teacher, "valset": self.valset, **arguments}
        taken = inspect.signature(optimizer.compile).parameters
        passed = {name: value for name, value in offered.items() if name in taken}
        if type(optimizer).acompile is Teleprompter.acompile:  # a user's own, with `compile` only
            return await call_off_loop(optimizer.compile, self.student, **passed)
        return await optimizer.acompile(self.student, **passed)

    async def _score(self, strategy: str) -> float | None:
        """Score the student as it is now, and keep a copy of it with the score."""
        score: float | None = None
        if not self.valset:
            logger.info(f"{YELLOW}No validation set provided. Skipping evaluation.{ENDC}")
        else:
            logger.info(f"{BLUE}Evaluating on {len(self.valset)} validation examples...{ENDC}")
            label = strategy or "the student"
            score = (await trial(self.student, self._evaluated, size=len(self.valset), label=label)).score
        self.candidates.append({"score": score, "program": self.student.deepcopy(), "strategy": strategy})
        return score

    async def _evaluated(self) -> Any:
        try:
            return await self.evaluate.acall(self.student, callback_metadata={"metric_key": "eval_full"})
        except Exception:
            logger.error("An exception occurred during evaluation", exc_info=True)
            return Prediction(score=0.0, results=[])

    def _best(self, failed: bool) -> Any:
        last = self.candidates[-1]
        ranked = sorted(
            self.candidates, key=lambda each: float("-inf") if each["score"] is None else each["score"], reverse=True
        )
        best = ranked[0] if self.valset else last
        program = best["program"]
        program.candidate_programs = ranked
        program.flag_compilation_error_occurred = failed
        logger.info(f"\n{BOLD}==> OPTIMIZATION SUMMARY <=={ENDC}")
        logger.info(f"{GREEN}Best score:{ENDC} {best['score']}")
        logger.info(f"{GREEN}Best strategy:{ENDC} {best['strategy'] or 'original (no optimization)'}")
        logger.info(f"{BLUE}Total candidates evaluated:{ENDC} {len(ranked)}")
        return program


def _name(optimizer: Teleprompter) -> str:
    return type(optimizer).__name__


def _prepared(student: Any, teacher: Any) -> list[Any] | None:
    if getattr(student, "_compiled", False):
        raise ValueError("The student program should not be compiled.")
    lacking = [name for name, predictor in student.named_predictors() if not predictor.lm]
    if lacking:
        raise ValueError(
            "The student program must have a language model set on every predictor, "
            f"but these have none: {lacking}. "
            "Assign an LM to them; `student.set_lm(lm)` sets every predictor and "
            "overwrites LMs that are already set."
        )
    if not teacher:
        return None
    teachers = cast("list[Any]", teacher) if isinstance(teacher, list) else [teacher]
    for each in teachers:
        _require_the_same_structure(student, each)
    return teachers


def _require_the_same_structure(student: Any, teacher: Any) -> None:
    assert isinstance(student, Module)
    assert isinstance(teacher, Module)
    mine, theirs = student.named_predictors(), teacher.named_predictors()
    assert len(mine) == len(theirs), (
        "Structurally equivalent programs must have the same number of predictors. The number of predictors for the two "
        f"modules do not match: {len(mine)} != {len(theirs)}"
    )
    for index, ((name, one), (other, two)) in enumerate(zip(mine, theirs, strict=True)):
        assert name == other, (
            "Program predictor names must match at  corresponding indices for structural equivalency. The predictor names "
            f"for the programs do not match at index {index}: '{name}' != '{other}'"
        )
        assert isinstance(one, Predict)
        assert isinstance(two, Predict)
    names = {id(predictor): name for name, predictor in mine}
    shared = [names[id(predictor)] for _, predictor in theirs if id(predictor) in names]
    assert not shared, f"The programs share the following predictor(s) with each other: {', '.join(shared)}"


def _split(
    trainset: Sequence[Any], valset: Sequence[Any] | None, ratio: float
) -> tuple[list[Any], list[Any] | None]:
    if not trainset:
        raise TrainsetError("trainset cannot be empty")
    if ratio < 0 or ratio >= 1:
        raise ValueError(f"valset_ratio must be in range [0, 1), got {ratio}")
    require_examples(trainset, "trainset")
    require_examples(valset or (), "valset")
    train = list(trainset)
    if valset:
        logger.info(f"{BLUE}Using provided validation set ({len(valset)} examples). Ignoring valset_ratio.{ENDC}")
        return train, list(valset)
    if ratio == 0:
        logger.info(f"{YELLOW}No validation set provided and valset_ratio=0. No validation set created.{ENDC}")
        return train, None
    logger.info(f"{BLUE}Sampling {ratio:.1%} of trainset as validation set.{ENDC}")
    count = int(ratio * len(train))
    val, train = train[:count], train[count:]
    logger.info(f"{BLUE}Created validation set: {len(val)} examples. Training set: {len(train)} examples.{ENDC}")
    return train, val
