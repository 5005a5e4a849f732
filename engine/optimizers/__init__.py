"""Optimizers: programs that get better by examples."""

from .better_together import BetterTogether
from .bootstrap import BootstrapFewShot
from .bootstrap_trace import abootstrap_trace_data, bootstrap_trace_data
from .copro import COPRO
from .ensemble import Ensemble
from .errors import NothingScored, OptimizerError, ResumeRefused, TrainsetError, WeightsNotTrained
from .few_shot_optuna import BootstrapFewShotWithOptuna
from .gepa import GEPA
from .gepa_adapter import ScoreWithFeedback
from .infer_rules import InferRules
from .instruction_proposer import InstructionProposer
from .knn_few_shot import KNNFewShot
from .labeled import LabeledFewShot
from .mipro import MIPROv2
from .random_search import BootstrapFewShotWithRandomSearch
from .simba import SIMBA
from .teleprompter import Teleprompter
from .weights import GRPO, BootstrapFinetune

__all__ = [
    "COPRO",
    "GEPA",
    "GRPO",
    "SIMBA",
    "BetterTogether",
    "BootstrapFewShot",
    "BootstrapFewShotWithOptuna",
    "BootstrapFewShotWithRandomSearch",
    "BootstrapFinetune",
    "Ensemble",
    "InferRules",
    "InstructionProposer",
    "KNNFewShot",
    "LabeledFewShot",
    "MIPROv2",
    "NothingScored",
    "OptimizerError",
    "ResumeRefused",
    "ScoreWithFeedback",
    "Teleprompter",
    "TrainsetError",
    "WeightsNotTrained",
    "abootstrap_trace_data",
    "bootstrap_trace_data",
]
