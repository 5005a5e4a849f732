"""The search of `MIPROv2`: which instructions and which demos, for all predictors together.

Optuna's TPE sampler suggests a combination; it is scored, on all examples or on a minibatch, and Optuna is told. After some
minibatch trials, the combination with the best average is scored on all examples, which alone decides what comes out.
Numbers of trials, log records and `trial_logs` are those of dspy 3.4. Where dspy raises because every combination tried has
been scored on all examples (a small space, or an early favourite), the search goes on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from ..evaluation import Evaluate
from ..logs import engine_logger
from .candidates import aeval_candidate_program, best_not_fully_scored, print_full_program, save_candidate_program
from .quiet_optuna import new_study
from .scores import Scores
from .trials import plan_trials

__all__ = ["PromptSearch"]

logger = engine_logger("dspex.engine.optimizers.mipro_search", dspy="dspy.teleprompt.mipro_optimizer_v2")

_GREEN, _PLAIN = "\033[92m", "\033[0m"


class PromptSearch:
    """One search.

    Attributes:
        best_program, best_score: of the programs scored on all examples.
        trial_logs: by number of trial, what was tried and how it did.
        score_data: every score in order: dicts of score, program and full_eval.
        scores: whether there are any.
    """

    def __init__(
        self,
        *,
        optuna: Any,
        program: Any,
        instructions: dict[int, list[str]],
        demo_sets: dict[int, list[list[Any]]] | None,
        evaluate: Evaluate,
        valset: Sequence[Any],
        num_trials: int,
        minibatch_size: int | None,
        full_eval_steps: int,
        seed: int,
        rng: random.Random,
        log_dir: str | None = None,
        verbose: bool = False,
    ) -> None:
        """Describe the search.

        Args:
            instructions, demo_sets: for each predictor, by position, what there is to choose from.
            minibatch_size: examples of a trial; None: all.
            full_eval_steps: trials from one evaluation on all examples to the next, with minibatches.
        """
        self._optuna = optuna
        self._program = program
        self._instructions = instructions
        self._demo_sets = demo_sets
        self._evaluate = evaluate
        self._valset = valset
        self._num_trials = num_trials
        self._minibatch_size = minibatch_size
        self._full_eval_steps = full_eval_steps
        self._seed = seed
        self._rng = rng
        self._log_dir = log_dir
        self._verbose = verbose
        full_evals = num_trials // full_eval_steps + (num_trials % full_eval_steps != 0)
        self._all_trials = num_trials if minibatch_size is None else num_trials + full_evals + 1
        self._tries: dict[str, list[tuple[float, Any, dict[str, Any]]]] = {}
        self._fully_scored: set[str] = set()
        self._calls = 0
        self.scores = Scores()
        self.trial_logs: dict[int, dict[str, Any]] = {}
        self.score_data: list[dict[str, Any]] = []
        self.best_program: Any = None
        self.best_score: float = 0.0

    async def run(self) -> Any:
        """The program that did best on all examples: the one given, or a combination."""
        logger.info("==> STEP 3: FINDING OPTIMAL PROMPT PARAMETERS <==")
        logger.info(
            "We will evaluate the program over a series of trials with different combinations of instructions and "
            "few-shot examples to find the optimal combination using Bayesian Optimization.\n"
        )
        plan_trials(self._num_trials + 1 if self._minibatch_size is None else self._all_trials, phase="search")
        await self._score_default()
        study = new_study(self._optuna, seed=self._seed, multivariate=True)
        study.add_trial(self._as_trial(self._default_parameters(), self.best_score))
        for count in range(1, self._num_trials + 1):
            asked = study.ask()
            score = await self._try(asked)
            last = count == self._num_trials
            if self._minibatch_size is not None and (count % self._full_eval_steps == 0 or last):
                await self._score_fully(study, asked.number + 1)
            study.tell(asked, score)
        return self.best_program

    def attach_statistics(self, program: Any) -> None:
        """Give a program the record of the search."""
        ranked = sorted(self.score_data, key=lambda entry: entry["score"], reverse=True)
        program.trial_logs = self.trial_logs
        program.score = self.best_score
        program.mb_candidate_programs = [entry for entry in ranked if not entry["full_eval"]]
        program.candidate_programs = [entry for entry in ranked if entry["full_eval"]]

    # -- trials ------------------------------------------------------------------------------------------------------

    async def _score_default(self) -> None:
        logger.info(f"== Trial 1 / {self._all_trials} - Full Evaluation of Default Program ==")
        score = await self._scored(self._program, len(self._valset), "default program")
        logger.info(f"Default program score: {score}\n")
        self.best_score, self.best_program = score, self._program.deepcopy()
        self.score_data.append({"score": score, "program": self._program.deepcopy(), "full_eval": True})
        self._log_trial(1, "full_eval", self._program, score, save_candidate_program(self._program, self._log_dir, -1))

    async def _try(self, asked: Any) -> float:
        """Score the combination that Optuna suggests."""
        number = asked.number + 1
        minibatch = self._minibatch_size is not None
        if minibatch:
            logger.info(f"== Trial {number} / {self._all_trials} - Minibatch ==")
        else:
            logger.info(f"===== Trial {number} / {self._num_trials} =====")
        self.trial_logs[number] = {}
        candidate = self._program.deepcopy()
        chosen, parameters = self._choose(candidate, asked, self.trial_logs[number])
        if self._verbose:
            logger.info("Evaluating the following candidate program...\n")
            print_full_program(candidate)
        size = len(self._valset) if self._minibatch_size is None else self._minibatch_size
        score = await self._scored(candidate, size, ", ".join(chosen))
        if not minibatch and score > self.best_score:
            self.best_score, self.best_program = score, candidate.deepcopy()
            logger.info(f"{_GREEN}Best full score so far!{_PLAIN} Score: {score}")
        self.score_data.append({"score": score, "program": candidate, "full_eval": size >= len(self._valset)})
        path = save_candidate_program(candidate, self._log_dir, number)
        self._log_trial(number, "mb" if minibatch else "full_eval", candidate, score, path)
        self._tell_of(number, score, size, chosen)
        self._tries.setdefault(",".join(chosen), []).append((score, candidate, parameters))
        return score

    async def _score_fully(self, study: Any, number: int) -> None:
        """Score the combination with the best average on all examples, and let Optuna know."""
        best = best_not_fully_scored(self._tries, self._fully_scored)
        if best is None:
            logger.info("Every combination tried so far has been evaluated fully.")
            return
        program, average, key, parameters = best
        number += 1
        logger.info(f"===== Trial {number} / {self._all_trials} - Full Evaluation =====")
        logger.info(f"Doing full eval on next top averaging program (Avg Score: {average}) from minibatch trials...")
        score = await self._scored(program, len(self._valset), key.replace(",", ", "))
        self.score_data.append({"score": score, "program": program, "full_eval": True})
        study.add_trial(self._as_trial(parameters, score))
        self._fully_scored.add(key)
        path = save_candidate_program(program, self._log_dir, number, note="full_eval")
        self.trial_logs[number] = {}
        self._log_trial(number, "full_eval", program, score, path, copied=False)
        if score > self.best_score:
            logger.info(f"{_GREEN}New best full eval score!{_PLAIN} Score: {score}")
            self.best_score, self.best_program = score, program.deepcopy()
        logger.info(f"Full eval scores so far: {self._scores(full=True)}")
        logger.info(f"Best full score so far: {self.best_score}")
        logger.info(len(f"===== Full Eval {len(self._fully_scored) + 1} =====") * "=")
        logger.info("\n")

    async def _scored(self, program: Any, size: int, label: str) -> float:
        result = await aeval_candidate_program(size, self._valset, program, self._evaluate, self._rng, label)
        self._calls += size
        self.scores.note(result)
        return result.score

    # -- combinations ------------------------------------------------------------------------------------------------

    def _choose(
        self, program: Any, asked: Any, entry: dict[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """Put what Optuna suggests into the program. Returns its description and its parameters."""
        chosen: list[str] = []
        parameters: dict[str, Any] = {}
        for index, predictor in enumerate(program.predictors()):
            name = f"{index}_predictor_instruction"
            number = asked.suggest_categorical(name, range(len(self._instructions[index])))
            predictor.signature = predictor.signature.with_instructions(self._instructions[index][number])
            entry[name] = parameters[name] = number
            chosen.append(f"Predictor {index}: Instruction {number}")
            if self._demo_sets:
                name = f"{index}_predictor_demos"
                number = asked.suggest_categorical(name, range(len(self._demo_sets[index])))
                predictor.demos = self._demo_sets[index][number]
                entry[name] = parameters[name] = number
                chosen.append(f"Predictor {index}: Few-Shot Set {number}")
        return chosen, parameters

    def _default_parameters(self) -> dict[str, int]:
        kinds = ["instruction", "demos"] if self._demo_sets else ["instruction"]
        return {f"{index}_predictor_{kind}": 0 for kind in kinds for index in self._instructions}

    def _as_trial(self, parameters: dict[str, Any], score: float) -> Any:
        optuna = self._optuna
        choices: dict[str, Any] = {}
        for index, instructions in self._instructions.items():
            choices[f"{index}_predictor_instruction"] = range(len(instructions))
            if self._demo_sets:
                choices[f"{index}_predictor_demos"] = range(len(self._demo_sets[index]))
        distributions = {
            name: optuna.distributions.CategoricalDistribution(each) for name, each in choices.items()
        }
        return optuna.trial.create_trial(params=parameters, distributions=distributions, value=score)

    # -- records -----------------------------------------------------------------------------------------------------

    def _log_trial(
        self, number: int, kind: str, program: Any, score: float, path: str | None, *, copied: bool = True
    ) -> None:
        entry = self.trial_logs.setdefault(number, {})
        entry[f"{kind}_program_path"] = path
        entry[f"{kind}_score"] = score
        entry["total_eval_calls_so_far"] = self._calls
        entry[f"{kind}_program"] = program.deepcopy() if copied else program

    def _tell_of(self, number: int, score: float, size: int, chosen: list[str]) -> None:
        if self._minibatch_size is None:
            logger.info(f"Score: {score} with parameters {chosen}.")
            logger.info(f"Scores so far: {self._scores(full=True)}")
            logger.info(f"Best score so far: {self.best_score}")
            line = f"===== Trial {number} / {self._num_trials} ====="
        else:
            logger.info(f"Score: {score} on minibatch of size {size} with parameters {chosen}.")
            logger.info(f"Minibatch scores so far: {self._scores(full=False)}")
            logger.info(f"Full eval scores so far: {self._scores(full=True)}")
            logger.info(f"Best full score so far: {self.best_score}")
            line = f"== Trial {number} / {self._all_trials} - Minibatch Evaluation =="
        logger.info(f"{'=' * len(line)}\n\n")

    def _scores(self, *, full: bool) -> str:
        return f"[{', '.join(str(entry['score']) for entry in self.score_data if entry['full_eval'] is full)}]"
