"""`SIMBA`: programs that learn from the examples on which they are sometimes right and sometimes wrong.

    optimizer = SIMBA(metric=metric, bsize=32, num_candidates=6, max_steps=8)
    better = await optimizer.acompile(program, trainset=trainset, seed=0)     # or optimizer.compile(...)

Each step runs a mini-batch several times with programs drawn from the pool, looks at the examples whose scores differ most
between runs, and makes new programs of them: by a demo of the best run, or by advice that a model writes when it compares
the best run with the worst (`simba_strategies.py`). The best of each step are compared on the whole training set at the end.
Draws, order and requests are those of dspy 3.4 for the same seed. Needs numpy (the extra `optimizers`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from ..lm.extras import MissingExtra
from ..logs import engine_logger
from ..off_loop import call_off_loop
from ..parallel import Parallel
from ..settings import settings
from .errors import NothingScored, TrainsetError, require_examples
from .simba_strategies import Run, append_a_demo, append_a_rule, prepare_models_for_resampling, wrap_program
from .teleprompter import Teleprompter
from .trials import keep_draft, plan_trials, report_trial

__all__ = ["SIMBA"]

logger = engine_logger("dspex.engine.optimizers.simba", dspy="dspy.teleprompt.simba")

_LARGEST_EXPONENT = 700.0
"""e to this is still a float. dspy's weights overflow above it, as with scores of hundreds, and its draw raises."""


class SIMBA(Teleprompter):
    """Stochastic introspective mini-batch ascent."""

    def __init__(
        self,
        *,
        metric: Callable[..., Any],
        bsize: int = 32,
        num_candidates: int = 6,
        max_steps: int = 8,
        max_demos: int = 4,
        prompt_model: Any = None,
        teacher_settings: dict[str, Any] | None = None,
        demo_input_field_maxlen: int = 100_000,
        num_threads: int | None = None,
        temperature_for_sampling: float = 0.2,
        temperature_for_candidates: float = 0.2,
    ) -> None:
        """Describe the ascent.

        Args:
            metric: `metric(example, prediction)`, async or not; returns a number, or a `Prediction` with a `score`, whose
                other fields are shown to the model that writes advice. The prediction is None for a run that failed.
            bsize: examples of a step.
            num_candidates: runs of each example, and (plus one) new programs, of a step.
            max_steps: steps.
            max_demos: demos of a predictor, roughly: above it, some are dropped at random. 0: only advice, no demos.
            prompt_model: writes the advice; None: the LM that is configured now.
            teacher_settings: its `lm` does the first run of each example.
            demo_input_field_maxlen: characters of an input that a demo keeps.
            num_threads: runs at a time; None: the setting of this name.
            temperature_for_sampling, temperature_for_candidates: how evenly programs are drawn from the pool, to run and
                to build on; the lower, the more the better ones are preferred.
        """
        self.metric = metric
        self.bsize = bsize
        self.num_candidates = num_candidates
        self.max_steps = max_steps
        self.max_demos = max_demos
        self.prompt_model: Any = prompt_model or settings.lm
        self.teacher_settings = teacher_settings
        self.demo_input_field_maxlen = demo_input_field_maxlen
        self.num_threads = num_threads
        self.temperature_for_sampling = temperature_for_sampling
        self.temperature_for_candidates = temperature_for_candidates
        self.strategies: list[Callable[..., Any]] = [append_a_rule]
        if self.max_demos > 0:
            self.strategies.insert(0, append_a_demo(demo_input_field_maxlen))

    async def acompile(self, student: Any, *, trainset: Sequence[Any], seed: int = 0) -> Any:
        """The best program. Its `candidate_programs` lists those compared at the end, best first (dicts of score and
        program), its `trial_logs` has a dict for each step.

        Raises:
            TrainsetError: fewer examples than `bsize`, or one that is none.
            NothingScored: no run of a step got a score.
            MissingExtra: numpy is not installed.
        """
        if len(trainset) < self.bsize or not trainset:
            raise TrainsetError(f"Trainset too small: {len(trainset)} < {max(self.bsize, 1)}")
        require_examples(trainset, "trainset")
        if self.num_candidates < 1:
            raise ValueError(f"SIMBA needs at least one run of each example: num_candidates={self.num_candidates}")
        return await _Ascent(self, student, trainset, seed).run()


class _Ascent:
    """One compilation."""

    def __init__(self, optimizer: SIMBA, student: Any, trainset: Sequence[Any], seed: int) -> None:
        try:
            import numpy
        except ImportError as error:
            raise MissingExtra("optimizers", module="numpy", purpose="SIMBA") from error
        self.how = optimizer
        self.trainset = trainset
        self.rng = random.Random(seed)
        self.numpy: Any = numpy
        self.numpy_rng: Any = numpy.random.default_rng(seed)
        self.programs: list[Any] = []
        self.scores: dict[int, list[Any]] = {}
        baseline = student.deepcopy()
        self._into_pool(baseline, [])
        self.winners: list[Any] = [baseline]
        self.order = list(range(len(trainset)))
        self.rng.shuffle(self.order)
        self.next = 0
        self.trial_logs: dict[int, dict[str, Any]] = {}
        self.parallel = Parallel(access_examples=False, num_threads=optimizer.num_threads)

    async def run(self) -> Any:
        keep_draft(lambda: self.winners[-1])
        new = self.how.num_candidates + 1
        plan_trials(self.how.max_steps * min(new, self.how.bsize) + min(new, self.how.max_steps + 1), phase="search")
        for step in range(self.how.max_steps):
            self.trial_logs[step] = {}
            await self._step(step + 1)
        return await self._best()

    async def _step(self, number: int) -> None:
        how = self.how
        logger.info(f"Starting batch {number} of {how.max_steps}.")
        batch = self._next_batch()
        runs, names = await self._sample(batch)
        buckets = self._buckets(runs, len(batch))
        scores = [run["score"] for run in runs]
        logger.info(f"Batch {number}: Baseline mini-batch score: {sum(scores) / len(scores)}\n")
        floats = [float(score) for score in scores]
        low, high = (self.numpy.percentile(floats, percent) for percent in (10, 90))

        candidates: list[Any] = []
        for index, (bucket, gaps) in enumerate(buckets):
            gap, most, over_average = gaps
            logger.info(
                f"Batch {number}: Processing bucket #{index + 1}, with max score {most}, "
                f"max-to-min gap {gap}, and max-to-avg gap {over_average}."
            )
            candidate = await self._candidate(number, bucket, names, low, high)
            if candidate is not None:
                candidates.append(candidate)
                logger.info("\n")
                if len(candidates) >= how.num_candidates + 1:
                    break

        logger.info(f"Batch {number}: Evaluating {len(candidates)} programs on {how.bsize} examples.")
        subscores = await self._evaluate(candidates, batch)
        averages = [sum(each) / len(each) for each in subscores]
        best = max(averages) if averages else None
        logger.info(f"Scores after {number} batches: {averages}, Best: {'N/A' if best is None else best}\n")
        if best is not None:
            self.winners.append(candidates[averages.index(best)].deepcopy())
        for candidate, each, average in zip(candidates, subscores, averages, strict=True):
            self._into_pool(candidate, each)
            report_trial(
                candidate, average, kind="minibatch", size=len(batch), label=f"step {number}, program {candidate.simba_idx}"
            )

    def _next_batch(self) -> list[Any]:
        if self.next + self.how.bsize > len(self.trainset):
            self.rng.shuffle(self.order)
            self.next = 0
        chosen = self.order[self.next : self.next + self.how.bsize]
        self.next += self.how.bsize
        return [self.trainset[index] for index in chosen]

    async def _sample(self, batch: Sequence[Any]) -> tuple[list[Run], dict[int, str]]:
        """Run each example several times, by programs out of the pool; and the names of their predictors by identity."""
        how = self.how
        models = prepare_models_for_resampling(self.programs[0], how.num_candidates, how.teacher_settings)
        pool = self._best_of_pool()
        pairs: list[tuple[Any, Any]] = []
        names: dict[int, str] = {}
        for model in models:
            for example in batch:
                program = self.programs[self._draw(pool, how.temperature_for_sampling)].deepcopy()
                program.set_lm(model)
                names.update((id(predictor), name) for name, predictor in program.named_predictors())
                pairs.append((wrap_program(program, how.metric), example))
        logger.info(f"Sampling program trajectories on {how.bsize} examples x {how.num_candidates} samples.")
        runs = await self.parallel.acall(pairs)
        _refuse_if_nothing_is_scored(runs)
        return runs, names

    def _buckets(self, runs: Sequence[Run], count: int) -> list[tuple[list[Run], tuple[float, float, float]]]:
        """The runs of each example, best first; the examples that promise most first."""
        buckets: list[tuple[list[Run], tuple[float, float, float]]] = []
        for index in range(count):
            bucket = sorted(runs[index::count], key=lambda run: run["score"], reverse=True)
            most, least = float(bucket[0]["score"]), float(bucket[-1]["score"])
            average = sum(run["score"] for run in bucket) / len(bucket)
            buckets.append((bucket, (most - least, most, most - average)))
        buckets.sort(key=lambda each: each[1], reverse=True)
        return buckets

    async def _candidate(
        self, number: int, bucket: list[Run], names: dict[int, str], low: float, high: float
    ) -> Any:
        """A program of the pool, changed by a strategy; None where that failed."""
        how, rng = self.how, self.rng
        source = self._draw(self._best_of_pool(), how.temperature_for_candidates)
        program = self.programs[source].deepcopy()
        predictors = dict(program.named_predictors())
        dropped = self._drop_demos(list(predictors.values()))
        strategy = rng.choice(how.strategies)
        logger.info(
            f"Batch {number}: Invoking strategy: {getattr(strategy, '__name__', type(strategy).__name__)}"
            + (f", having dropped {dropped} demos per predictor" if dropped else "")
        )
        try:
            await call_off_loop(
                strategy,
                bucket,
                program,
                predictor2name=names,
                name2predictor=predictors,
                batch_10p_score=low,
                batch_90p_score=high,
                prompt_model=how.prompt_model,
            )
        except Exception as error:
            logger.error(f"Strategy failed with error: {error}")
            return None
        return program

    def _drop_demos(self, predictors: Sequence[Any]) -> int:
        limit = self.how.max_demos if self.how.max_demos > 0 else 3
        count = max((len(predictor.demos) for predictor in predictors), default=0)
        dropped = min(max(self.numpy_rng.poisson(count / limit), int(count >= limit)), count)
        positions = [self.rng.randrange(count) for _ in range(dropped)]
        for predictor in predictors:
            predictor.demos = [demo for index, demo in enumerate(predictor.demos) if index not in positions]
        return dropped

    async def _evaluate(self, programs: Sequence[Any], examples: Sequence[Any]) -> list[list[Any]]:
        """The scores of each program on each example."""
        pairs = [(wrap_program(program, self.how.metric), example) for program in programs for example in examples]
        runs = await self.parallel.acall(pairs)
        count = len(examples)
        return [
            [run["score"] for run in runs[index * count : (index + 1) * count]] for index in range(len(programs))
        ]

    async def _best(self) -> Any:
        last, shown = len(self.winners) - 1, self.how.num_candidates + 1
        picked = [round(index * last / (shown - 1)) for index in range(shown)] if last >= 1 else [0]
        programs = [self.winners[index].deepcopy() for index in dict.fromkeys(picked)]
        logger.info(f"VALIDATION: Evaluating {len(programs)} programs on the full trainset.")
        scores: list[float] = []
        for index, each in enumerate(await self._evaluate(programs, self.trainset)):
            scores.append(sum(each) / len(each))
            report_trial(programs[index], scores[-1], size=len(each), label=f"program {programs[index].simba_idx}")
            if index != 0:
                self.trial_logs[index - 1]["train_score"] = scores[-1]
        found = [{"score": score, "program": program} for score, program in zip(scores, programs, strict=True)]
        found.sort(key=lambda each: each["score"], reverse=True)
        index = scores.index(max(scores))
        logger.info(f"Final trainset scores: {scores}, Best: {max(scores)} (at index {index})\n\n\n")
        best = programs[index].deepcopy()
        best.candidate_programs = found
        best.trial_logs = self.trial_logs
        return best

    def _into_pool(self, program: Any, scores: list[Any]) -> None:
        program.simba_idx = len(self.programs)
        self.programs.append(program)
        self.scores[program.simba_idx] = scores

    def _average(self, index: int) -> float:
        scores = self.scores[index]
        return sum(scores) / len(scores) if scores else 0.0

    def _best_of_pool(self) -> list[int]:
        """The best programs, of which the baseline is always one."""
        best = sorted(range(len(self.programs)), key=self._average, reverse=True)[: self.how.num_candidates]
        if best and 0 not in best:
            best[-1] = 0
        return best

    def _draw(self, pool: Sequence[int], temperature: float) -> int:
        if not pool:
            raise ValueError("No programs available for softmax sampling.")
        exponents = [self._average(index) / temperature for index in pool]
        highest = max(exponents)
        shift = highest if highest > _LARGEST_EXPONENT else 0.0
        weights = [self.numpy.exp(exponent - shift) for exponent in exponents]
        total = sum(weights)
        if total <= 0:
            return self.rng.choice(pool)
        return self.rng.choices(pool, weights=[weight / total for weight in weights], k=1)[0]


def _refuse_if_nothing_is_scored(runs: Sequence[Run]) -> None:
    if any(run["failure"] is None for run in runs):
        return
    first = next(run for run in runs if run["failure"] is not None)
    raise NothingScored(
        f"None of {len(runs)} runs of this step got a score; the first failure was: {first['failure']!r}. Look at the model "
        "and at the metric: optimizing on would return the program as it was, with a score of 0."
    ) from first["failure"]
