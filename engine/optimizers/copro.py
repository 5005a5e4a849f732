"""`COPRO`: a model rewrites each predictor's instructions, sees how its versions scored, and rewrites them again.

    optimizer = COPRO(metric=answer_exact_match, breadth=10, depth=3)
    better = await optimizer.acompile(program, trainset=trainset)      # or optimizer.compile(...)

Coordinate ascent as in dspy 3.4, prompts and order of requests included: at each depth, one predictor after the other is
tried with all of its candidates while the others keep their best so far. `COPRO(breadth=20, depth=4)` ends here; in dspy
each candidate is derived from the one before, and the chain of copied fields is too deep for Python after some 140 of
them. Here a candidate is derived from the student's own signature.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from ..evaluation import Evaluate
from ..logs import engine_logger
from ..predict import Predict
from ..settings import context
from ..signatures import InputField, OutputField, Signature
from .requirements import require_examples, require_metric, require_predictors
from .scores import Scores
from .teleprompter import Teleprompter
from .trials import plan_trials, together, trial

__all__ = ["COPRO", "BasicGenerateInstruction", "GenerateInstructionGivenAttempts"]

logger = engine_logger("dspex.engine.optimizers.copro", dspy="dspy.teleprompt.copro_optimizer")

_AT_THE_END = "The string at the end of the prompt, which will help the model start solving the task"
_STATISTICS = ("depth", "max", "average", "min", "std")
_ONLY_OF_THE_OBJECT = ("max_errors", "provide_traceback", "failure_score")
"""Options that an `Evaluate` takes when it is made and not when it is called."""


class BasicGenerateInstruction(Signature):
    """You are an instruction optimizer for large language models. I will give you a ``signature`` of fields (inputs and outputs) in English. Your task is to propose an instruction that will lead a good language model to perform the task well. Don't be afraid to be creative."""  # noqa: E501

    basic_instruction = InputField(desc="The initial instructions before optimization")
    proposed_instruction = OutputField(desc="The improved instructions for the language model")
    proposed_prefix_for_output_field = OutputField(desc=_AT_THE_END)


class GenerateInstructionGivenAttempts(Signature):
    """You are an instruction optimizer for large language models. I will give some task instructions I've tried, along with their corresponding validation scores. The instructions are arranged in increasing order based on their scores, where higher scores indicate better quality.

    Your task is to propose a new instruction that will lead a good language model to perform the task even better. Don't be afraid to be creative."""  # noqa: E501

    attempted_instructions = InputField()
    proposed_instruction = OutputField(desc="The improved instructions for the language model")
    proposed_prefix_for_output_field = OutputField(desc=_AT_THE_END)


class COPRO(Teleprompter):
    """Searches for instructions, and for the prefix of each predictor's last output."""

    def __init__(
        self,
        prompt_model: Any = None,
        metric: Callable[..., Any] | None = None,
        breadth: int = 10,
        depth: int = 3,
        init_temperature: float = 1.4,
        track_stats: bool = False,
        **_kwargs: Any,
    ) -> None:
        """Describe the search.

        Args:
            prompt_model: the LM that writes instructions; None: the one of the settings.
            metric: scores a prediction, as for `Evaluate`.
            breadth: candidates for each predictor at each depth; the first time, the student's own is one of them.
            depth: how often candidates are written.
            init_temperature: temperature of the requests that write them.
            track_stats: keep `results_best` and `results_latest` on the program that comes out.
            **_kwargs: ignored, as in dspy.

        Raises:
            ValueError: breadth is not greater than 1, or depth is not positive.
        """
        if breadth <= 1:
            raise ValueError("Breadth must be greater than 1")
        if depth < 1:
            raise ValueError(f"Depth must be at least 1, not {depth}: at depth 0 no candidate would be evaluated")
        self.metric = metric
        self.breadth = breadth
        self.depth = depth
        self.init_temperature = init_temperature
        self.prompt_model = prompt_model
        self.track_stats = track_stats

    async def acompile(
        self, student: Any, *, trainset: Sequence[Any], eval_kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The program that scored best; the student is not changed.

        Args:
            student: the program, with or without demos.
            trainset: the examples that candidates are scored on.
            eval_kwargs: options of `Evaluate`, such as `num_threads`.

        Returns:
            A program with attributes `candidate_programs` (dicts of score, program, instruction, prefix and depth, best
            first, of equal ones only the first) and `total_calls` (evaluations made). With `track_stats` also
            `results_best` (of the ten best so far, at each depth) and `results_latest` (of the newest candidates): for
            each predictor, under the `id` of the one in the program, lists of depth, max, average, min and std.

        Raises:
            ValueError: no examples, no metric, or a program without predictors.
            TypeError: an item of the training set is no Example, or `Evaluate` has no such option.
            LMError, AdapterParseError: candidates could not be written.
            NothingScored: every example of every candidate failed.
            Exception: too many examples failed in one evaluation.
        """
        require_metric(self, self.metric)
        require_predictors(self, student)
        if not trainset:
            raise ValueError("devset must contain at least one example, got an empty devset.")
        require_examples(self, trainset)
        options = dict(eval_kwargs or {})
        called = {name: value for name, value in options.items() if name not in _ONLY_OF_THE_OBJECT}
        inspect.signature(Evaluate.__call__).bind(None, None, devset=trainset, **called)  # before anything is spent
        evaluate = Evaluate(devset=trainset, metric=self.metric, **options)
        score = partial(evaluate.acall, devset=trainset, **called)
        return await _Ascent(self, student.deepcopy(), score, len(trainset)).run()

    async def write_candidates(self, signature: type[Signature], count: int, **inputs: Any) -> list[tuple[str, str]]:
        """Instructions and prefixes, as the model wrote them."""
        with nullcontext() if self.prompt_model is None else context(lm=self.prompt_model):
            written = await Predict(signature, n=count, temperature=self.init_temperature).acall(**inputs)
        completions = written.completions
        assert completions is not None
        return list(
            zip(completions.proposed_instruction, completions.proposed_prefix_for_output_field, strict=False)
        )


class _Ascent:
    """One search. Predictors are known by their position."""

    def __init__(self, how: COPRO, program: Any, score: Callable[[Any], Any], size: int) -> None:
        self._how = how
        self._program = program
        """Changes as the search goes on: every predictor has its best instructions so far."""
        self._score = score
        self._size = size
        self._own = [predictor.signature for predictor in program.predictors()]
        self._scored: list[dict[tuple[str, str], dict[str, Any]]] = [{} for _ in self._own]
        """For each predictor, the candidates by instruction and prefix."""
        self._calls = 0
        self._scores = Scores()
        self._best = [_no_statistics() for _ in self._own]
        self._latest = [_no_statistics() for _ in self._own]

    async def run(self) -> Any:
        how = self._how
        every = await together([partial(self._first, signature) for signature in self._own])
        newest = [list(candidates) for candidates in every]
        single = len(self._own) == 1
        self._plan([len(candidates) for candidates in every])
        for depth in range(how.depth):
            logger.info(f"Iteration Depth: {depth + 1}/{how.depth}.")
            latest: list[float] = []
            for index in range(len(self._own)):
                # With several predictors, an older candidate may do better beside the others' new instructions.
                latest += await self._try(index, newest[index] if single else every[index], depth)
                if how.track_stats:
                    _add_statistics(self._latest[index], depth, latest)
                best = max(self._scored[index].values(), key=_score_of)
                self._set(self._program, index, best["instruction"], best["prefix"])
            for index in range(len(self._own)):
                self._track_best(index, depth)
            if depth < how.depth - 1:
                newest = await together([partial(self._next, index) for index in range(len(self._own))])
                for known, new in zip(every, newest, strict=True):
                    known += new
        return self._result()

    def _plan(self, first: Sequence[int]) -> None:
        how = self._how
        if len(first) == 1:
            plan_trials(how.depth * how.breadth, phase="search")
        else:
            plan_trials(len(first) * sum(how.breadth * (depth + 1) for depth in range(how.depth)), phase="search")

    async def _first(self, signature: type[Signature]) -> list[tuple[str, str]]:
        """The first candidates for a predictor, its own instructions last."""
        how = self._how
        written = await how.write_candidates(
            BasicGenerateInstruction, how.breadth - 1, basic_instruction=signature.instructions
        )
        return [*written, (signature.instructions, _prefix(signature))]

    async def _next(self, index: int) -> list[tuple[str, str]]:
        """Candidates written in view of the best so far, the best of which is shown last."""
        how = self._how
        best = sorted(self._scored[index].values(), key=_score_of, reverse=True)[: how.breadth]
        attempts: list[str] = []
        for number, candidate in enumerate(reversed(best), start=1):
            attempts += [
                f"Instruction #{number}: {candidate['instruction']}",
                f"Prefix #{number}: {candidate['prefix']}",
                f"Resulting Score #{number}: {candidate['score']}",
            ]
        return await how.write_candidates(
            GenerateInstructionGivenAttempts, how.breadth, attempted_instructions=attempts
        )

    async def _try(self, index: int, candidates: Sequence[tuple[str, str]], depth: int) -> list[float]:
        """Score one predictor's candidates. Returns the scores of the newest, as many as the breadth."""
        stripped = [tuple(text.strip('"').strip() for text in candidate) for candidate in candidates]
        programs = [self._with(index, *texts) for texts in stripped]
        results = await together(
            [
                partial(self._evaluate, program, index, number, len(stripped), depth)
                for number, program in enumerate(programs)
            ]
        )
        scores = [result.score for result in results]
        self._calls += len(scores)
        for (instruction, prefix), program, score in zip(stripped, programs, scores, strict=True):
            known = self._scored[index].get((instruction, prefix))
            if known is None or known["score"] < score:
                self._scored[index][instruction, prefix] = {
                    "score": score,
                    "program": program,
                    "instruction": instruction,
                    "prefix": prefix,
                    "depth": depth,
                }
        return scores[-self._how.breadth :]

    async def _evaluate(self, program: Any, index: int, number: int, count: int, depth: int) -> Any:
        at = f"Depth {depth + 1}/{self._how.depth}"
        which = f"#{number + 1}/{count} for Predictor {index + 1} of {len(self._own)}"
        logger.info(f"At {at}, Evaluating Prompt Candidate {which}.")
        label = f"{at}, candidate {which}".lower()
        result = await trial(program, partial(self._score, program), size=self._size, label=label)
        self._scores.note(result)
        return result

    def _with(self, index: int, instruction: str, prefix: str) -> Any:
        program = self._program.deepcopy()
        self._set(program, index, instruction, prefix)
        return program

    def _set(self, program: Any, index: int, instruction: str, prefix: str) -> None:
        own = self._own[index]
        *_, last = own.fields
        changed = own.with_instructions(instruction).with_updated_fields(last, prefix=prefix)
        program.predictors()[index].signature = changed

    def _track_best(self, index: int, depth: int) -> None:
        if self._how.track_stats:
            scores = sorted(map(_score_of, self._scored[index].values()), reverse=True)
            _add_statistics(self._best[index], depth, scores[:10])

    def _result(self) -> Any:
        candidates = [each for scored in self._scored for each in scored.values()]
        candidates.sort(key=_score_of, reverse=True)
        candidates = _without_repeats(candidates)
        best = candidates[0]["program"]
        self._scores.require_some(self._how, best)
        best.candidate_programs = candidates
        best.total_calls = self._calls
        if self._how.track_stats:
            ids = [id(predictor) for predictor in best.predictors()]
            best.results_best = dict(zip(ids, self._best, strict=True))
            best.results_latest = dict(zip(ids, self._latest, strict=True))
        return best


def _prefix(signature: type[Signature]) -> str:
    *_, last = signature.fields.values()
    extra: Any = last.json_schema_extra
    return extra["prefix"]


def _score_of(candidate: Mapping[str, Any]) -> float:
    return candidate["score"]


def _no_statistics() -> dict[str, list[float]]:
    return {name: [] for name in _STATISTICS}


def _add_statistics(into: dict[str, list[float]], depth: int, scores: Sequence[float]) -> None:
    row = (depth, max(scores), sum(scores) / len(scores), min(scores), statistics.pstdev(scores))
    for name, value in zip(_STATISTICS, row, strict=True):
        into[name].append(value)


def _without_repeats(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Candidates, best first, without those whose predictors have the texts of an earlier one of the same score."""
    seen: set[tuple[Any, ...]] = set()
    kept: list[dict[str, Any]] = []
    for candidate in candidates:
        texts = tuple((p.signature.instructions, p.signature.specs[-1]) for p in candidate["program"].predictors())
        if (candidate["score"], texts) not in seen:
            seen.add((candidate["score"], texts))
            kept.append(candidate)
    return kept
