"""`DspyGEPAResult`: everything that a run of GEPA found, as `program.detailed_results` when `track_stats` is set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["DspyGEPAResult"]


class _Builds(Protocol):
    def build_program(self, candidate: Mapping[str, str]) -> Any: ...


@dataclass(frozen=True)
class DspyGEPAResult:
    """The candidates of a run, by their index: in the order in which they entered the pool, the student first.

    Attributes:
        candidates: programs.
        parents: for each, the indices of those it was made of; None for the student.
        val_aggregate_scores: for each, its average on the validation set.
        val_subscores: for each, its score by validation example.
        per_val_instance_best_candidates: for each validation example, the candidates that are best on it.
        discovery_eval_counts: for each, the metric calls made before it.
        best_outputs_valset: for each validation example, `(candidate, prediction)` of the best, if they were tracked.
        total_metric_calls: metric calls of the run.
        num_full_val_evals: evaluations on the whole validation set.
        log_dir: where the run wrote its files, if it did.
        seed: of the run.
        val_aggregate_subscores, per_objective_best_candidates, objective_pareto_front: the same by objective, if the
            metric returns `objective_scores`.
    """

    candidates: list[Any]
    parents: list[list[int | None]]
    val_aggregate_scores: list[float]
    val_subscores: list[dict[Any, float]]
    per_val_instance_best_candidates: dict[Any, set[int]]
    discovery_eval_counts: list[int]
    best_outputs_valset: dict[Any, list[tuple[int, Any]]] | None = None
    total_metric_calls: int | None = None
    num_full_val_evals: int | None = None
    log_dir: str | None = None
    seed: int | None = None
    val_aggregate_subscores: list[dict[str, float]] | None = None
    per_objective_best_candidates: dict[str, set[int]] | None = None
    objective_pareto_front: dict[str, float] | None = None

    @property
    def best_idx(self) -> int:
        """The candidate with the best average; of equals, the first."""
        return max(range(len(self.val_aggregate_scores)), key=self.val_aggregate_scores.__getitem__)

    @property
    def best_candidate(self) -> Any:
        """Its program."""
        return self.candidates[self.best_idx]

    @property
    def highest_score_achieved_per_val_task(self) -> dict[Any, float]:
        """For each validation example, the best score of any candidate."""
        return {
            example: self.val_subscores[min(best)][example]
            for example, best in self.per_val_instance_best_candidates.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values: candidates as their instructions, sets as lists."""
        objectives = self.per_objective_best_candidates
        return {
            "candidates": [
                {name: predictor.signature.instructions for name, predictor in candidate.named_predictors()}
                for candidate in self.candidates
            ],
            "parents": self.parents,
            "val_aggregate_scores": self.val_aggregate_scores,
            "best_outputs_valset": self.best_outputs_valset,
            "val_subscores": self.val_subscores,
            "per_val_instance_best_candidates": {
                example: list(best) for example, best in self.per_val_instance_best_candidates.items()
            },
            "val_aggregate_subscores": self.val_aggregate_subscores,
            "per_objective_best_candidates": None
            if objectives is None
            else {objective: list(best) for objective, best in objectives.items()},
            "objective_pareto_front": self.objective_pareto_front,
            "discovery_eval_counts": self.discovery_eval_counts,
            "total_metric_calls": self.total_metric_calls,
            "num_full_val_evals": self.num_full_val_evals,
            "log_dir": self.log_dir,
            "seed": self.seed,
            "best_idx": self.best_idx,
        }

    @staticmethod
    def from_gepa_result(gepa_result: Any, adapter: _Builds) -> DspyGEPAResult:
        """What gepa found, with programs for its candidates."""
        return DspyGEPAResult(
            candidates=[adapter.build_program(candidate) for candidate in gepa_result.candidates],
            parents=gepa_result.parents,
            val_aggregate_scores=gepa_result.val_aggregate_scores,
            best_outputs_valset=gepa_result.best_outputs_valset,
            val_subscores=gepa_result.val_subscores,
            per_val_instance_best_candidates=gepa_result.per_val_instance_best_candidates,
            discovery_eval_counts=gepa_result.discovery_eval_counts,
            val_aggregate_subscores=gepa_result.val_aggregate_subscores,
            per_objective_best_candidates=gepa_result.per_objective_best_candidates,
            objective_pareto_front=gepa_result.objective_pareto_front,
            total_metric_calls=gepa_result.total_metric_calls,
            num_full_val_evals=gepa_result.num_full_val_evals,
            log_dir=gepa_result.run_dir,
            seed=gepa_result.seed,
        )
