"""Optimizers: programs that get better by examples."""

from .better_together import BetterTogether
from .bootstrap import BootstrapFewShot
from .bootstrap_trace import abootstrap_trace_data, bootstrap_trace_data
from .ensemble import Ensemble
from .gepa import GEPA
from .gepa_adapter import ScoreWithFeedback
from .instruction_proposer import InstructionProposer
from .knn_few_shot import KNNFewShot
from .labeled import LabeledFewShot
from .random_search import BootstrapFewShotWithRandomSearch
from .simba import SIMBA
from .teleprompter import Teleprompter
from .weights import GRPO, BootstrapFinetune

__all__ = [
    "GEPA",
    "GRPO",
    "SIMBA",
    "BetterTogether",
    "BootstrapFewShot",
    "BootstrapFewShotWithRandomSearch",
    "BootstrapFinetune",
    "Ensemble",
    "InstructionProposer",
    "KNNFewShot",
    "LabeledFewShot",
    "ScoreWithFeedback",
    "Teleprompter",
    "abootstrap_trace_data",
    "bootstrap_trace_data",
]
