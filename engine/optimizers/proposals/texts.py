"""The texts that a proposer shows to its model: demos, histories of instructions; and how it reads what comes back.

Names and results are those of dspy 3.4's `propose.utils`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "create_example_string",
    "create_instruction_set_history_string",
    "create_predictor_level_history_string",
    "get_program_instruction_set_string",
    "order_input_keys_in_string",
    "parse_list_of_instructions",
    "strip_prefix",
]

_LABEL = re.compile(r"^[\*\s]*(([\w\'\-]+\s+){0,4}[\w\'\-]+):\s*")
"""Up to five words and a colon at the start, such as "**Proposed Instruction: "."""

_INPUT_KEYS = re.compile(r"input_keys=\{([^\}]+)\}")


def strip_prefix(text: str) -> str:
    """The text without a label before it and without quotes around it."""
    return _LABEL.sub("", text).strip('"')


def order_input_keys_in_string(unordered_repr: str) -> str:
    """The repr of examples with their input keys in alphabetical order; a set shows them in any order."""

    def ordered(found: re.Match[str]) -> str:
        return f"input_keys={{{', '.join(sorted(key.strip() for key in found[1].split(',')))}}}"

    return _INPUT_KEYS.sub(ordered, unordered_repr)


def create_example_string(fields: Mapping[str, Any], example: Any) -> str:
    """One line for each field of a signature: its prefix and what the example has for it."""
    return "\n".join(f"{field.json_schema_extra['prefix']} {example.get(name)}" for name, field in fields.items())


def get_program_instruction_set_string(program: Any) -> str:
    """The instructions of all predictors as one text that looks like a list."""
    instructions = [f'"{predictor.signature.instructions}"' for predictor in program.predictors()]
    return f"[{', '.join(instructions)}]"


def parse_list_of_instructions(instruction_string: str) -> Any:
    """The list that a text holds: as JSON, or else whatever stands in double quotes."""
    try:
        return json.loads(instruction_string)
    except json.JSONDecodeError:
        return re.findall(r'"([^"]*)"', instruction_string)


def create_instruction_set_history_string(base_program: Any, trial_logs: Mapping[Any, Any], top_n: int) -> str:
    """The best `top_n` sets of instructions tried so far, the best last, each with its score."""
    first: dict[str, float] = {}
    for program, score in _tried(base_program, trial_logs):
        first.setdefault(get_program_instruction_set_string(program), score)
    return _history(first, top_n)


def create_predictor_level_history_string(
    base_program: Any, predictor_i: int, trial_logs: Mapping[Any, Any], top_n: int
) -> str:
    """The best `top_n` instructions tried so far for one predictor, the best last, each with its average score."""
    scores: dict[str, list[float]] = {}
    for program, score in _tried(base_program, trial_logs):
        scores.setdefault(program.predictors()[predictor_i].signature.instructions, []).append(score)
    return _history({instruction: sum(each) / len(each) for instruction, each in scores.items()}, top_n)


def _tried(base_program: Any, trial_logs: Mapping[Any, Any]) -> Iterator[tuple[Any, float]]:
    for entry in trial_logs.values():
        if "program_path" in entry:
            program = base_program.deepcopy()
            program.load(entry["program_path"])
            yield program, entry["score"]


def _history(scores: Mapping[str, float], top_n: int) -> str:
    best = sorted(scores.items(), key=lambda each: each[1], reverse=True)[:top_n]
    return "".join(f"{text} | Score: {score}\n\n" for text, score in reversed(best))
