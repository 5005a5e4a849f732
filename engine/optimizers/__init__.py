"""Optimizers: programs that get better by examples."""

from .bootstrap import BootstrapFewShot
from .copro import COPRO
from .ensemble import Ensemble
from .few_shot_optuna import BootstrapFewShotWithOptuna
from .infer_rules import InferRules
from .knn_few_shot import KNNFewShot
from .labeled import LabeledFewShot
from .mipro import MIPROv2
from .random_search import BootstrapFewShotWithRandomSearch
from .scores import NothingScored
from .teleprompter import Teleprompter

__all__ = [
    "COPRO",
    "BootstrapFewShot",
    "BootstrapFewShotWithOptuna",
    "BootstrapFewShotWithRandomSearch",
    "Ensemble",
    "InferRules",
    "KNNFewShot",
    "LabeledFewShot",
    "MIPROv2",
    "NothingScored",
    "Teleprompter",
]
