"""`DspyAdapter`: what the `gepa` package asks of a program: scores, traces, what to reflect on, new instructions.

gepa calls it from the thread of its search. Whatever asks a model goes from there to the event loop of the compilation and
back, so it is bounded, cancelled and journalled as all other work of the engine. Behaviour and texts are those of dspy 3.4;
programs with `dspy.Flex` inside are the exception, since the engine has none.
"""

from __future__ import annotations

import concurrent.futures
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import anyio

from ..adapters import AdapterParseError, ChatAdapter
from ..evaluation import Evaluate
from ..example import Prediction
from ..logs import engine_logger
from ..off_loop import ask
from ..settings import context, settings
from ..sync import run_sync
from ..types import History, Type
from .bootstrap_trace import FailedPrediction, abootstrap_trace_data
from .errors import NothingScored
from .instruction_proposer import InstructionProposer

__all__ = [
    "CodeProposalFn",
    "DspyAdapter",
    "LoggerAdapter",
    "PredictorFeedbackFn",
    "ScoreWithFeedback",
    "SearchStopped",
    "format_history_for_reflection",
]

logger = engine_logger("dspex.engine.optimizers.gepa_adapter", dspy="dspy.teleprompt.gepa.gepa_utils")

T = TypeVar("T")
DSPyTrace = list[tuple[Any, dict[str, Any], Any]]
"""(predictor, inputs, outputs) in the order in which predictors ran."""


class SearchStopped(BaseException):
    """The compilation was cancelled; ends gepa's loop, which would take an Exception for a failed step."""


class LoggerAdapter:
    """gepa's logger."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def log(self, x: str) -> None:
        """One line, on level INFO."""
        self.logger.info(x)


class ScoreWithFeedback(Prediction):
    """What a metric for GEPA returns: `ScoreWithFeedback(score=0.5, feedback="The year is wrong.")`.

    Attributes:
        score: a number, higher is better.
        feedback: what the model that reflects is told; None: only the score.
        objective_scores: scores of several objectives by name, when candidates are compared by more than one.
    """

    score: float
    feedback: str
    objective_scores: dict[str, float] | None


class PredictorFeedbackFn(Protocol):
    """Feedback for one predictor of a program."""

    def __call__(
        self,
        predictor_output: dict[str, Any],
        predictor_inputs: dict[str, Any],
        module_inputs: Any,
        module_outputs: Any,
        captured_trace: DSPyTrace,
    ) -> Any: ...


class CodeProposalFn(Protocol):
    """Proposes code for `dspy.Flex` submodules, which the engine does not have: accepted, never called."""

    def __call__(
        self,
        candidate: dict[str, str],
        reflective_dataset: dict[str, list[dict[str, Any]]],
        components_to_update: list[str],
        task_descriptions: dict[str, str],
        context_blurbs: dict[str, str],
    ) -> dict[str, str]: ...


def format_history_for_reflection(history: History) -> str:
    """A conversation as a custom proposer is shown it."""
    lines = "".join(f"  {index}: {message}\n" for index, message in enumerate(history.messages))
    return f"```json\n{lines}```"


def on_the_loop(function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """`await function(...)` on the compilation's event loop, from gepa's thread.

    Raises:
        SearchStopped: the compilation was cancelled.
    """
    try:
        return run_sync(partial(function, *args, **kwargs))
    except concurrent.futures.CancelledError as error:  # asyncio's in a thread is an Exception; trio's is not
        raise SearchStopped from error


class DspyAdapter:
    """A program and a metric, as gepa sees them. The parameters are dspy's; `GEPA` makes it."""

    def __init__(
        self,
        student_module: Any,
        metric_fn: Callable[..., Any],
        feedback_map: Mapping[str, Callable[..., Any]],
        failure_score: float = 0.0,
        num_threads: int | None = None,
        add_format_failure_as_feedback: bool = False,
        rng: random.Random | None = None,
        reflection_lm: Any = None,
        custom_instruction_proposer: Any = None,
        custom_code_proposer: CodeProposalFn | None = None,
        warn_on_score_mismatch: bool = True,
        reflection_minibatch_size: int | None = None,
    ) -> None:
        self.student = student_module
        self.metric_fn = metric_fn
        self.feedback_map = feedback_map
        self.failure_score = failure_score
        self.num_threads = num_threads
        self.add_format_failure_as_feedback = add_format_failure_as_feedback
        self.rng = rng or random.Random(0)
        self.reflection_lm = reflection_lm
        proposer = custom_instruction_proposer if custom_instruction_proposer is not None else InstructionProposer()
        self.custom_instruction_proposer: Any = proposer
        self.custom_code_proposer = custom_code_proposer
        self.warn_on_score_mismatch = warn_on_score_mismatch
        self.reflection_minibatch_size = reflection_minibatch_size
        self._builtin = isinstance(proposer, InstructionProposer)
        self._answered = False

    # -- programs ----------------------------------------------------------------------------------------------------

    def build_program(self, candidate: Mapping[str, str]) -> Any:
        """The student with a candidate's instructions."""
        made = self.student.deepcopy()
        for name, predictor in made.named_predictors():
            if name in candidate:
                predictor.signature = predictor.signature.with_instructions(candidate[name])
        return made

    def propose_new_texts(
        self,
        candidate: dict[str, str],
        reflective_dataset: dict[str, list[dict[str, Any]]],
        components_to_update: list[str],
    ) -> dict[str, str]:
        """New instructions by the proposer, which is called with the model that reflects as the configured LM."""
        with context(lm=self.reflection_lm or settings.lm):
            proposed: Any = on_the_loop(
                ask,
                self.custom_instruction_proposer,
                candidate=candidate,
                reflective_dataset=reflective_dataset,
                components_to_update=components_to_update,
            )
        return dict(proposed)

    # -- evaluation --------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        batch: Sequence[Any],
        candidate: Mapping[str, str],
        capture_traces: bool = False,
        num_threads: int | None = None,
    ) -> Any:
        """gepa's `EvaluationBatch` of a candidate on some examples. A run that failed has the failure score."""
        return on_the_loop(self.aevaluate, batch, candidate, capture_traces, num_threads)

    def batch_evaluate(self, items: Sequence[tuple[Any, Any]], *, capture_traces: bool = True) -> list[Any]:
        """Several `(candidate, examples)` at the same time, which share `num_threads`."""
        return on_the_loop(self._evaluate_all, items, capture_traces)

    async def _evaluate_all(self, items: Sequence[tuple[Any, Any]], capture_traces: bool) -> list[Any]:
        total = self.num_threads or settings.num_threads
        width = min(len(items), total) or 1
        each, extra = divmod(total, width)
        results: list[Any] = [None] * len(items)
        failed: list[Exception] = []
        places = anyio.CapacityLimiter(width)

        async def one(index: int, candidate: Any, batch: Any) -> None:
            async with places:
                try:
                    results[index] = await self.aevaluate(batch, candidate, capture_traces, each + (index < extra))
                except Exception as error:
                    failed.append(error)
                    group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for index, (candidate, batch) in enumerate(items):
                group.start_soon(one, index, candidate, batch)
        if failed:
            raise failed[0]
        return results

    async def aevaluate(
        self,
        batch: Sequence[Any],
        candidate: Mapping[str, str],
        capture_traces: bool = False,
        num_threads: int | None = None,
    ) -> Any:
        """`evaluate`, on the event loop."""
        program = self.build_program(candidate)
        width = self.num_threads if num_threads is None else num_threads
        small = self.reflection_minibatch_size is not None and len(batch) <= self.reflection_minibatch_size
        metadata = {"disable_logging": True} if small else {"metric_key": "eval_full"}
        if capture_traces:
            return await self._with_traces(program, batch, width, metadata)
        evaluate = Evaluate(
            devset=batch,
            metric=self.metric_fn,
            num_threads=width,
            failure_score=self.failure_score,
            provide_traceback=True,
            max_errors=len(batch) * 100,
        )
        result = await evaluate.acall(program, callback_metadata=metadata)
        # An answer that cannot be read is an answer: better instructions may make it one that can.
        dead = [error for _, error in result.failures if not isinstance(error, AdapterParseError)]
        if not self._answered and len(dead) == len(batch):
            error = dead[0]
            raise NothingScored(
                f"None of the {len(batch)} examples of the first evaluation got a score; the first failure was: {error!r}. "
                "Look at the model and at the metric before anything is optimized."
            ) from error
        self._answered = True
        return self._evaluation([output for _, output, _ in result.results], [score for *_, score in result.results])

    async def _with_traces(self, program: Any, batch: Sequence[Any], width: int | None, metadata: dict[str, Any]) -> Any:
        runs = await abootstrap_trace_data(
            program,
            batch,
            self.metric_fn,
            num_threads=width,
            raise_on_error=False,
            capture_failed_parses=True,
            failure_score=self.failure_score,
            format_failure_score=self.failure_score,
            callback_metadata=metadata,
        )
        # A run that raised is not among them, and gepa goes by position.
        outputs: list[Any] = [None] * len(batch)
        scores: list[Any] = [None] * len(batch)
        for run in runs:
            outputs[run["example_ind"]] = run["prediction"]
            scores[run["example_ind"]] = run.get("score")
        return self._evaluation(outputs, scores, runs)

    def _evaluation(self, outputs: list[Any], scores: list[Any], trajectories: Any = None) -> Any:
        from gepa.core.adapter import EvaluationBatch

        objectives: list[dict[str, float]] = []
        plain: list[Any] = []
        for score in scores:
            told = isinstance(score, Prediction)
            plain.append(self.failure_score if score is None else score.score if told else score)
            objectives.append(dict(score.get("objective_scores") or {}) if told else {})
        return EvaluationBatch(
            outputs=outputs,
            scores=plain,
            trajectories=trajectories,
            objective_scores=objectives if any(objectives) else None,
        )

    # -- reflection --------------------------------------------------------------------------------------------------

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], eval_batch: Any, components_to_update: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """For each predictor, what it was asked, what it said and what the metric says about that.

        Raises:
            Exception: no predictor has a run that could be told of.
        """
        predictors = dict(self.build_program(candidate).named_predictors())
        trajectories: list[Mapping[str, Any]] = eval_batch.trajectories or []
        told: dict[str, list[dict[str, Any]]] = {}
        for name in components_to_update:
            assert name in predictors, f"Predictor not found: {name}"
            items = [
                item
                for run in trajectories
                if (item := self._reflection_on(run, name, predictors[name])) is not None
            ]
            if items:
                told[name] = items
            else:
                logger.warning(f"  No valid reflective examples found for {name}")
        if not told:
            raise Exception("No valid predictions found for any module.")
        return told

    def _reflection_on(self, run: Mapping[str, Any], name: str, predictor: Any) -> dict[str, Any] | None:
        steps = [step for step in run["trace"] if step[0].signature.equals(predictor.signature)]
        if not self.add_format_failure_as_feedback:
            steps = [step for step in steps if not isinstance(step[2], FailedPrediction)]
        if not steps:
            return None
        chosen = next((step for step in steps if isinstance(step[2], FailedPrediction)), None)
        if chosen is None:
            if isinstance(run["prediction"], FailedPrediction):
                return None
            chosen = self.rng.choice(steps)
        _, inputs, outputs = chosen
        if isinstance(outputs, FailedPrediction):
            return {
                "Inputs": self._inputs(inputs),
                "Generated Outputs": "Couldn't parse the output as per the expected output format. The model's raw response "
                f"was:\n```\n{outputs.completion_text}\n```\n\n",
                "Feedback": "Your output failed to parse. Follow this structure:\n" + _structure(predictor.signature),
            }
        return {
            "Inputs": self._inputs(inputs),
            "Generated Outputs": {key: value if self._builtin else str(value) for key, value in outputs.items()},
            "Feedback": self._feedback(run, name, inputs, outputs),
        }

    def _inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        histories = [key for key, value in inputs.items() if isinstance(value, History)]
        assert len(histories) <= 1, f"a predictor has one History, not several: {histories}"
        shown: dict[str, Any] = {}
        if histories:
            history = inputs[histories[0]]
            shown["Context"] = history if self._builtin else format_history_for_reflection(history)
        for key, value in inputs.items():
            if key not in histories:
                shown[key] = value if self._builtin or isinstance(value, Type) else str(value)
        return shown

    def _feedback(self, run: Mapping[str, Any], name: str, inputs: Any, outputs: Any) -> Any:
        score = run["score"]
        if hasattr(score, "score"):
            score = score["score"]
        feedback = self.feedback_map[name](
            predictor_output=outputs,
            predictor_inputs=inputs,
            module_inputs=run["example"],
            module_outputs=run["prediction"],
            captured_trace=run["trace"],
        )
        if feedback["score"] != score and self.warn_on_score_mismatch:
            logger.warning(_MISMATCH)
            self.warn_on_score_mismatch = False
        return feedback["feedback"]

    # -- the rest of what gepa asks ----------------------------------------------------------------------------------

    def get_adapter_state(self) -> dict[str, Any]:
        """What a checkpoint of gepa's keeps of this."""
        return {"rng_state": self.rng.getstate()}

    def set_adapter_state(self, state: Mapping[str, Any]) -> None:
        """The opposite of `get_adapter_state`."""
        if "rng_state" in state:
            self.rng.setstate(state["rng_state"])

    def reflect(self, prompt: Any) -> str:
        """The first answer of the model that reflects."""
        return self.stripped_lm_call(prompt)[0]

    def stripped_lm_call(self, x: Any) -> list[str]:
        """The texts that the model that reflects answers to a prompt."""
        texts: list[str] = []
        for answer in on_the_loop(ask, self.reflection_lm, x):
            if isinstance(answer, str):
                texts.append(answer)
            elif isinstance(answer, dict):
                if "text" not in answer:
                    raise KeyError("Missing 'text' field in the output from the base LM!")
                texts.append(cast("str", answer["text"]))
            else:
                raise TypeError("Unexpected output type from the base LM! Expected str or dict")
        return texts


def _structure(signature: Any) -> str:
    messages: list[dict[str, Any]] = ChatAdapter().format(signature, [], {})
    return "".join(f"{message['role']}: {message['content']}\n" for message in messages)


_MISMATCH = (
    "The score returned by the metric with pred_name is different from the overall metric score. This can indicate 2 things: "
    "Either the metric is non-deterministic (e.g., LLM-as-judge, Semantic score, etc.) or the metric returned a score specific "
    "to pred_name that differs from the module level score. Currently, GEPA does not support predictor level scoring (support "
    "coming soon), and only requires a feedback text to be provided, which can be specific to the predictor or program level. "
    "GEPA will ignore the differing score returned, and instead use module level score. You can safely ignore this warning if "
    "using a semantic metric, however, if this mismatch is caused due to predictor scoring, please return module-level scores. "
    "To disable this warning, set warn_on_score_mismatch=False."
)
