"""`GEPA`: instructions that evolve by reflection: a model reads what a predictor did and what the metric says of it.

    def metric(gold, pred, trace=None, pred_name=None, pred_trace=None):
        right = gold.answer == pred.answer
        return ScoreWithFeedback(score=float(right), feedback="Right." if right else f"It is {gold.answer}.")

    optimizer = GEPA(metric=metric, auto="light", reflection_lm=strong_lm)
    better = await optimizer.acompile(program, trainset=trainset, valset=valset)      # or optimizer.compile(...)

The search is that of the `gepa` package (the extra `optimizers`), which is synchronous: it runs in a thread, and its
evaluations, metric and model calls come back to the event loop of the compilation (`gepa_adapter.py`). Cancelled, the
calls in work are cancelled and the thread ends. Parameters, requests, draws and results are those of dspy 3.4.

gepa keeps the state of a run as a pickle. Nothing that lies on a disk is unpickled here, so a run does not resume from its
`log_dir`; run it as an optimizer job, whose journal makes any optimizer resume.
"""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import anyio
import anyio.to_thread

from ..lm.extras import MissingExtra
from ..logs import engine_logger
from ..off_loop import ask
from ..sync import alone_on_own_loop, beside_own_loop
from .errors import ResumeRefused, TrainsetError, require_examples
from .gepa_adapter import CodeProposalFn, DspyAdapter, LoggerAdapter, SearchStopped, on_the_loop
from .gepa_result import DspyGEPAResult
from .teleprompter import Teleprompter
from .trials import keep_draft, may_go_on, plan_trials, report_trial

__all__ = ["AUTO_RUN_SETTINGS", "GEPA", "GEPAFeedbackMetric"]

logger = engine_logger("dspex.engine.optimizers.gepa", dspy="dspy.teleprompt.gepa.gepa")

AUTO_RUN_SETTINGS = {"light": {"n": 6}, "medium": {"n": 12}, "heavy": {"n": 18}}
"""How many candidates a budget given by name is meant for."""

_SMALL_VALSET = 35
_STATE_FILE = "gepa_state.bin"


class GEPAFeedbackMetric(Protocol):
    """A metric for GEPA. Called with the first two to score, with all five for feedback on one predictor."""

    def __call__(
        self,
        gold: Any,
        pred: Any,
        trace: Any,
        pred_name: str | None,
        pred_trace: Any,
        program_trace: Any = None,
    ) -> Any: ...


class GEPA(Teleprompter):
    """Reflective evolution of instructions."""

    def __init__(
        self,
        metric: GEPAFeedbackMetric,
        *,
        auto: Literal["light", "medium", "heavy"] | None = None,
        max_full_evals: int | None = None,
        max_metric_calls: int | None = None,
        reflection_minibatch_size: int = 3,
        candidate_selection_strategy: Literal["pareto", "current_best"] = "pareto",
        reflection_lm: Any = None,
        skip_perfect_score: bool = True,
        add_format_failure_as_feedback: bool = False,
        instruction_proposer: Any = None,
        code_proposer: CodeProposalFn | None = None,
        component_selector: Any = "round_robin",
        use_merge: bool = True,
        max_merge_invocations: int | None = 5,
        num_threads: int | None = None,
        failure_score: float = 0.0,
        perfect_score: float = 1.0,
        log_dir: str | None = None,
        track_stats: bool = False,
        use_wandb: bool = False,
        wandb_api_key: str | None = None,
        wandb_init_kwargs: dict[str, Any] | None = None,
        track_best_outputs: bool = False,
        warn_on_score_mismatch: bool = True,
        use_mlflow: bool = False,
        seed: int | None = 0,
        gepa_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Describe the evolution. Exactly one of `auto`, `max_full_evals` and `max_metric_calls` is the budget.

        Args:
            metric: `metric(gold, pred, trace, pred_name, pred_trace)`, async or not; returns a number or a
                `ScoreWithFeedback`. The last three are None when a program is scored.
            auto: a budget by name, by the size of the program and of the validation set.
            max_full_evals: a budget in runs of all examples.
            max_metric_calls: a budget in calls of the metric.
            reflection_minibatch_size: examples that are reflected on at a time.
            candidate_selection_strategy: what to build on: "pareto", a draw among those that are best on some example, or
                "current_best".
            reflection_lm: the model that reflects; a strong one.
            skip_perfect_score: do not reflect where every example of the mini-batch has the `perfect_score`.
            add_format_failure_as_feedback: also reflect on answers that could not be read.
            instruction_proposer: writes new instructions, async or not, called with `candidate`, `reflective_dataset` and
                `components_to_update` while `reflection_lm` is the configured LM; default an `InstructionProposer`.
            code_proposer: accepted; for `dspy.Flex`, which the engine does not have.
            component_selector: whose instructions change in a step: "round_robin", "all" or a selector of gepa's.
            use_merge, max_merge_invocations: whether and how often two candidates are merged.
            num_threads: examples at a time, of all candidates together; None: the setting of this name.
            failure_score, perfect_score: the ends of the metric's range.
            log_dir: folder for gepa's files. A run does not resume from it.
            track_stats: keep everything found as `program.detailed_results`.
            use_wandb, wandb_api_key, wandb_init_kwargs, use_mlflow: gepa's tracking.
            track_best_outputs: keep the best predictions on the validation set; needs `track_stats`.
            warn_on_score_mismatch: warn (once) when the metric scores a predictor unlike the program.
            seed: of all draws.
            gepa_kwargs: further options of `gepa.optimize`.

        Raises:
            TypeError: the metric does not take five arguments.
            AssertionError: not exactly one budget; nothing to reflect with; best outputs without stats.
            ValueError: an option in `gepa_kwargs` that would have no effect.
        """
        try:
            inspect.signature(metric).bind(None, None, None, None, None)
        except TypeError as error:
            raise TypeError(
                "GEPA metric must accept five arguments: (gold, pred, trace, pred_name, pred_trace). "
                "See https://dspy.ai/api/optimizers/GEPA for details."
            ) from error
        assert (max_metric_calls is not None) + (max_full_evals is not None) + (auto is not None) == 1, (
            "Exactly one of max_metric_calls, max_full_evals, auto must be set. "
            f"You set max_metric_calls={max_metric_calls}, "
            f"max_full_evals={max_full_evals}, "
            f"auto={auto}."
        )
        assert reflection_lm is not None or instruction_proposer is not None, (
            "GEPA requires a reflection language model, or custom instruction proposer to be provided. "
            "Typically, you can use `dspy.LM(model='gpt-5', temperature=1.0, max_tokens=32000)` to get a good reflection "
            "model. Reflection LM is used by GEPA to reflect on the behavior of the program and propose new instructions, "
            "and will benefit from a strong model. "
        )
        assert track_stats or not track_best_outputs, "track_stats must be True if track_best_outputs is True."
        self.metric_fn: Callable[..., Any] = metric
        self.auto = auto
        self.max_full_evals = max_full_evals
        self.max_metric_calls = max_metric_calls
        self.reflection_minibatch_size = reflection_minibatch_size
        self.candidate_selection_strategy = candidate_selection_strategy
        self.reflection_lm = reflection_lm
        self.skip_perfect_score = skip_perfect_score
        self.add_format_failure_as_feedback = add_format_failure_as_feedback
        self.use_merge = use_merge
        self.max_merge_invocations = max_merge_invocations
        self.num_threads = num_threads
        self.failure_score = failure_score
        self.perfect_score = perfect_score
        self.log_dir = log_dir
        self.track_stats = track_stats
        self.use_wandb = use_wandb
        self.wandb_api_key = wandb_api_key
        self.wandb_init_kwargs = wandb_init_kwargs
        self.warn_on_score_mismatch = warn_on_score_mismatch
        self.use_mlflow = use_mlflow
        self.track_best_outputs = track_best_outputs
        self.seed = seed
        self.custom_instruction_proposer = instruction_proposer
        self.custom_code_proposer = code_proposer
        self.component_selector = component_selector
        self.gepa_kwargs: dict[str, Any] = gepa_kwargs or {}
        if self.gepa_kwargs.get("max_reflection_cost") is not None:
            raise ValueError("max_reflection_cost is not supported by dspy.GEPA yet.")
        if "reflection_prompt_template" in self.gepa_kwargs:
            raise ValueError(
                "reflection_prompt_template cannot be passed via gepa_kwargs when using dspy.GEPA. "
                "DspyAdapter implements its own propose_new_texts, so reflection_prompt_template is unused. "
                "To customize the reflection prompt, pass "
                "instruction_proposer=InstructionProposer(base_instructions=...) instead."
            )

    def auto_budget(
        self, num_preds: int, num_candidates: int, valset_size: int, minibatch_size: int = 35, full_eval_steps: int = 5
    ) -> int:
        """The metric calls of a budget by name, as dspy reckons them.

        Raises:
            ValueError: a negative size, or no step between full evaluations.
        """
        trials = int(max(2 * (num_preds * 2) * math.log2(num_candidates), 1.5 * num_candidates))
        if trials < 0 or valset_size < 0 or minibatch_size < 0:
            raise ValueError("num_trials, valset_size, and minibatch_size must be >= 0.")
        if full_eval_steps < 1:
            raise ValueError("full_eval_steps must be >= 1.")
        total = valset_size + num_candidates * 5 + trials * minibatch_size
        if trials == 0:
            return total
        full = (trials + 1) // full_eval_steps + 1 + (trials < full_eval_steps)
        return total + full * valset_size

    async def acompile(
        self,
        student: Any,
        *,
        trainset: Sequence[Any],
        teacher: Any = None,
        valset: Sequence[Any] | None = None,
    ) -> Any:
        """The student with the instructions that score best on the validation set.

        Args:
            trainset: what is reflected on.
            teacher: must be None, as in dspy.
            valset: what candidates are compared on; default the training set, which they then fit closely.

        Raises:
            TrainsetError: no examples, or one that is none.
            NothingScored: no validation example of the student got a score.
            ResumeRefused: `log_dir` holds the state of an earlier run.
            MissingExtra: gepa is not installed.
        Cancelled: calls in work are cancelled, and the thread of the search has ended when this returns.
        """
        if not trainset:
            raise TrainsetError("Trainset must be provided and non-empty")
        assert teacher is None, "Teacher is not supported in DspyGEPA yet."
        require_examples(trainset, "trainset")
        require_examples(valset or (), "valset")
        self._refuse_to_resume()
        self._set_budget(student, trainset, valset)
        self._say_what_is_planned(trainset, valset)
        keep_draft(lambda: student)
        plan_trials(None, phase="search")

        adapter = self._adapter(student)
        found: Any = await _in_its_thread(lambda: self._search(student, adapter, trainset, valset or trainset))
        made = adapter.build_program(found.best_candidate)
        if self.track_stats:
            made.detailed_results = DspyGEPAResult.from_gepa_result(found, adapter)
        return made

    def _refuse_to_resume(self) -> None:
        if self.log_dir is not None and (Path(self.log_dir) / _STATE_FILE).exists():
            raise ResumeRefused(
                f"{self.log_dir} holds the state of an earlier run of GEPA ({_STATE_FILE}), which is a pickle: reading it "
                "would run whatever it says, so it is not read. Give a new log_dir; to make runs that resume, run the "
                "optimizer as a job with a journal (docs/optimizers.md)."
            )

    def _set_budget(self, student: Any, trainset: Sequence[Any], valset: Sequence[Any] | None) -> None:
        if self.auto is not None:
            self.max_metric_calls = self.auto_budget(
                num_preds=max(len(student.named_predictors()), 1),
                num_candidates=AUTO_RUN_SETTINGS[self.auto]["n"],
                valset_size=len(valset) if valset is not None else len(trainset),
            )
        elif self.max_full_evals is not None:
            self.max_metric_calls = self.max_full_evals * (len(trainset) + len(valset or ()))

    def _say_what_is_planned(self, trainset: Sequence[Any], valset: Sequence[Any] | None) -> None:
        calls = self.max_metric_calls or 0
        examples = len(trainset) + len(valset or ())
        logger.info(
            f"Running GEPA for approx {calls} metric calls of the program. This amounts to {calls / examples:.2f} full evals "
            f"on the {'train' if valset is None else 'train+val'} set."
        )
        if valset is None:
            logger.warning(_NO_VALSET)
        count = len(valset or trainset)
        if count > _SMALL_VALSET:
            logger.info(f"Using {count} examples for tracking Pareto scores. {_LARGE_VALSET}")
        else:
            logger.info(f"Using {count} examples for tracking Pareto scores.")

    def _adapter(self, student: Any) -> DspyAdapter:
        return DspyAdapter(
            student_module=student,
            metric_fn=self.metric_fn,
            feedback_map={
                name: _feedback_of(self.metric_fn, name, predictor) for name, predictor in student.named_predictors()
            },
            failure_score=self.failure_score,
            num_threads=self.num_threads,
            add_format_failure_as_feedback=self.add_format_failure_as_feedback,
            rng=random.Random(self.seed),
            reflection_lm=self.reflection_lm,
            custom_instruction_proposer=self.custom_instruction_proposer,
            custom_code_proposer=self.custom_code_proposer,
            warn_on_score_mismatch=self.warn_on_score_mismatch,
            reflection_minibatch_size=self.reflection_minibatch_size,
        )

    def _search(
        self, student: Any, adapter: DspyAdapter, trainset: Sequence[Any], valset: Sequence[Any]
    ) -> Any:
        """gepa's own loop: blocking, for its thread."""
        try:
            import gepa
        except ModuleNotFoundError as error:
            if error.name != "gepa":
                raise
            raise MissingExtra("optimizers", module="gepa", purpose="GEPA") from error
        optimize = cast("Any", gepa).optimize  # its types are narrower than what it takes
        options = dict(self.gepa_kwargs)
        given: Any = options.pop("stop_callbacks", None) or ()
        stops: list[Any] = [*(given if isinstance(given, Sequence) else (given,)), lambda _state: not may_go_on()]  # pyright: ignore[reportUnknownLambdaType]
        callbacks: list[Any] = [*(options.pop("callbacks", None) or ()), _Reporter(adapter)]
        return optimize(
            seed_candidate={name: predictor.signature.instructions for name, predictor in student.named_predictors()},
            trainset=list(trainset),
            valset=list(valset),
            adapter=adapter,
            reflection_lm=adapter.reflect if self.reflection_lm is not None else None,
            candidate_selection_strategy=self.candidate_selection_strategy,
            skip_perfect_score=self.skip_perfect_score,
            reflection_minibatch_size=self.reflection_minibatch_size,
            module_selector=self.component_selector,
            perfect_score=self.perfect_score,
            use_merge=self.use_merge,
            max_merge_invocations=self.max_merge_invocations,
            max_metric_calls=self.max_metric_calls,
            stop_callbacks=stops,
            callbacks=callbacks,
            logger=LoggerAdapter(logger),
            run_dir=self.log_dir,
            use_wandb=self.use_wandb,
            wandb_api_key=self.wandb_api_key,
            wandb_init_kwargs=self.wandb_init_kwargs,
            use_mlflow=self.use_mlflow,
            track_best_outputs=self.track_best_outputs,
            display_progress_bar=sys.stderr.isatty() and find_spec("tqdm") is not None,
            raise_on_exception=True,
            seed=self.seed,
            **options,
        )


class _Reporter:
    """Tells the job, if there is one, of each candidate that gepa has scored."""

    def __init__(self, adapter: DspyAdapter) -> None:
        self._adapter = adapter

    def on_valset_evaluated(self, event: Any) -> None:
        """gepa's callback of this name."""
        scored = event["num_examples_evaluated"]
        report_trial(
            self._adapter.build_program(event["candidate"]),
            event["average_score"],
            kind="full" if scored == event["total_valset_size"] else "minibatch",
            size=scored,
            label=f"candidate {event['candidate_idx']}",
        )


def _feedback_of(metric: Callable[..., Any], name: str, predictor: Any) -> Callable[..., Any]:
    def feedback(
        predictor_output: Any, predictor_inputs: Any, module_inputs: Any, module_outputs: Any, captured_trace: Any
    ) -> Any:
        trace = [(predictor, predictor_inputs, predictor_output)]
        told: Any = on_the_loop(ask, metric, module_inputs, module_outputs, captured_trace, name, trace)
        if not hasattr(told, "feedback"):
            return {"score": told, "feedback": f"This trajectory got a score of {told}."}
        if told["feedback"] is None:
            told["feedback"] = f"This trajectory got a score of {told['score']}."
        return told

    return feedback


async def _in_its_thread(search: Callable[[], Any]) -> Any:
    """The result of a blocking search whose calls come back to this loop. When this ends, so has the thread."""
    if alone_on_own_loop():
        return beside_own_loop(search)
    outcome: list[Any] = []
    failed: list[Exception] = []

    def blocking() -> None:
        try:
            outcome.append(search())
        except SearchStopped:
            pass  # the cancellation itself is waiting on the loop
        except Exception as error:
            failed.append(error)

    async def child() -> None:
        await anyio.to_thread.run_sync(blocking, limiter=anyio.CapacityLimiter(1))

    # In a task of its own: cancelled by asyncio itself, a call of a thread would be left, and the thread run on.
    async with anyio.create_task_group() as group:
        group.start_soon(child)
    if failed:
        raise failed[0]
    await anyio.lowlevel.checkpoint()
    return outcome[0]


_NO_VALSET = (
    "No valset provided; Using trainset as valset. This is useful as an inference-time scaling strategy where you want GEPA "
    "to find the best solutions for the provided tasks in the trainset, as it makes GEPA overfit prompts to the provided "
    "trainset. In order to ensure generalization and perform well on unseen tasks, please provide separate trainset and "
    "valset. Provide the smallest valset that is just large enough to match the downstream task distribution, while keeping "
    "trainset as large as possible."
)
_LARGE_VALSET = (
    "You can consider using a smaller sample of the valset to allow GEPA to explore more diverse solutions within the same "
    "budget. GEPA requires you to provide the smallest valset that is just large enough to match your downstream task "
    "distribution, while providing as large trainset as possible."
)
