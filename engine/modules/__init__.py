"""Ready-made programs built on `Predict`."""

from .aggregation import default_normalize, majority, normalize_text
from .best_of_n import BestOfN
from .chain_of_thought import ChainOfThought
from .code_act import CodeAct
from .knn import KNN
from .multi_chain_comparison import MultiChainComparison
from .program_of_thought import ProgramOfThought
from .react import ReAct
from .react_v2 import ReActV2
from .refine import Refine
from .rlm import RLM

__all__ = [
    "KNN",
    "RLM",
    "BestOfN",
    "ChainOfThought",
    "CodeAct",
    "MultiChainComparison",
    "ProgramOfThought",
    "ReAct",
    "ReActV2",
    "Refine",
    "default_normalize",
    "majority",
    "normalize_text",
]
