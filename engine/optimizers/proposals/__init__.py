"""Proposals: instructions for a program's predictors, written by a model that is told of the program and its data."""

from .dataset_summary import acreate_dataset_summary, create_dataset_summary
from .grounded import TIPS, GroundedProposer, Proposer
from .module_instruction import GenerateModuleInstruction
from .program_code import get_dspy_source_code

__all__ = [
    "TIPS",
    "GenerateModuleInstruction",
    "GroundedProposer",
    "Proposer",
    "acreate_dataset_summary",
    "create_dataset_summary",
    "get_dspy_source_code",
]
