"""Optimizers: programs that get better by examples."""

from .bootstrap import BootstrapFewShot
from .ensemble import Ensemble
from .knn_few_shot import KNNFewShot
from .labeled import LabeledFewShot
from .random_search import BootstrapFewShotWithRandomSearch
from .simba import SIMBA
from .teleprompter import Teleprompter

__all__ = [
    "SIMBA",
    "BootstrapFewShot",
    "BootstrapFewShotWithRandomSearch",
    "Ensemble",
    "KNNFewShot",
    "LabeledFewShot",
    "Teleprompter",
]
