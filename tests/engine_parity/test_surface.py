"""Every public name of the installed dspy is the engine's too, with the same parameters; what is not is in a list, with
the reason.
"""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import dspex.engine as engine
import pytest
from dspex.engine.dspy_names import NOT_OFFERED
from dspex.engine.late_names import HOMES

# Names that dspy shows and does not mean.
_ACCIDENTS = {"threading"}

# Methods that dspy has and the engine has not, by the class that first has them.
_METHODS_NOT_OFFERED = {
    "set_criteria": "decision outputs are experimental in dspy",
    "get_criteria": "decision outputs are experimental in dspy",
    "supports_decision_requests": "decision outputs are experimental in dspy",
    "convert_to_lm_dict": "the engine trains no weights",
    "finetune_lms": "the engine trains no weights",
    "invoke_tool": "a part of dspy's own machinery",
}


_OTHER_PARAMETERS: dict[tuple[str, str], str] = {
    ("configure_cache", ""): "folder and size are worked out when the cache is first used",
    ("BaseModule", "__init__"): "nothing to initialise, so there is none",
    ("CodeAct", "aforward"): "the interpreter of one call can be given",
    ("ContextWindowExceededError", "__init__"): "the message may also be positional, as in the other errors",
    ("Retrieve", "dump_state"): "it takes json_mode; without, a program that holds one cannot be saved, as in dspy",
    ("Signature", "__init__"): "records are made by the signature's model, whose __init__ is pydantic's",
}
"""Where the engine's parameters are not dspy's, and why."""


def _public(module: ModuleType) -> list[str]:
    return [name for name in dir(module) if not name.startswith("_") and name not in _ACCIDENTS]


def _parameters(function: Any) -> list[tuple[str, str, Any]] | None:
    """Names, kinds and defaults, without the engine's own additions at the end."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return [(each.name, each.kind.name, _default(each.default)) for each in found]


def _default(value: Any) -> str:
    """Of classes and functions the name, of sentinels the type: the objects themselves are each package's own."""
    if value is inspect.Parameter.empty:
        return "none"
    return getattr(value, "__name__", None) or ("a sentinel" if type(value) is object else repr(value))


def _agrees(theirs: list[Any], ours: list[Any]) -> bool:
    """The same, except that ours may take keyword-only options of its own, and a `*args` that dspy's caller cannot see."""
    names = {name for name, _, _ in theirs}
    kept = [each for each in ours if each[0] in names or each[1] != "KEYWORD_ONLY"]

    def loose(parameters: list[Any]) -> list[Any]:
        # What stands for "everything else" may have any name.
        return [("...", kind, default) if kind.startswith("VAR_") else (n, kind, default) for n, kind, default in parameters]

    return loose(kept) == loose(theirs)


def test_every_public_name_is_offered_or_refused_with_a_reason(dspy: ModuleType) -> None:
    lacking = [name for name in _public(dspy) if not hasattr(engine, name) and name not in NOT_OFFERED]
    assert lacking == []


def test_nothing_that_is_offered_is_on_the_list_of_what_is_not() -> None:
    assert [name for name in NOT_OFFERED if name in vars(engine) or name in dir(engine)] == []


def test_what_comes_in_on_first_use_is_what_type_checkers_are_told() -> None:
    face = ast.parse(Path(engine.__file__).read_text())
    told = {
        alias.asname or alias.name: node.module
        for block in face.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == HOMES


def test_the_engine_lists_its_names_before_they_are_loaded() -> None:
    program = (
        "import sys, dspex.engine as engine\n"
        "before = 'dspex.engine.predict' in sys.modules\n"
        "listed = set(engine.__all__) <= set(dir(engine))\n"
        "from dspex.engine import *\n"
        "print(before, listed, Predict is engine.Predict is engine.predict.Predict, engine.settings is settings)"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert output.split() == ["False", "True", "True", "True"]


@pytest.mark.parametrize("name", sorted(NOT_OFFERED))
def test_a_name_that_is_not_offered_says_why(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no `{name}`: .* dspy itself") as caught:
        getattr(engine, name)
    assert type(caught.value).__name__ == "NotOffered"


def test_functions_take_what_dspys_take(dspy: ModuleType) -> None:
    different = {}
    for name in _public(dspy):
        theirs, ours = getattr(dspy, name), getattr(engine, name, None)
        if ours is None or inspect.isclass(theirs) or inspect.ismodule(theirs) or not callable(theirs):
            continue
        wanted, got = _parameters(theirs), _parameters(ours)
        if (name, "") not in _OTHER_PARAMETERS and wanted is not None and got is not None and not _agrees(wanted, got):
            different[name] = (wanted, got)
    assert different == {}


def test_classes_have_the_methods_that_dspys_have_and_these_take_what_dspys_take(dspy: ModuleType) -> None:
    different = {}
    for name in _public(dspy):
        theirs, ours = getattr(dspy, name), getattr(engine, name, None)
        if ours is None or not inspect.isclass(theirs):
            continue
        for member in ["__init__", *(each for each in dir(theirs) if not each.startswith("_"))]:
            if member in _METHODS_NOT_OFFERED or (name, member) in _OTHER_PARAMETERS:
                continue
            wanted = getattr(theirs, member, None)
            if not hasattr(ours, member):
                different[f"{name}.{member}"] = ("missing", None)
            elif callable(wanted):
                one, other = _parameters(wanted), _parameters(getattr(ours, member))
                if one is not None and other is not None and not _agrees(one, other):
                    different[f"{name}.{member}"] = (one, other)
    assert different == {}


def test_metaclass_properties_are_there(dspy: ModuleType) -> None:
    for name in ("instructions", "input_fields", "output_fields", "fields", "signature"):
        assert isinstance(vars(type(engine.Signature))[name], property)
        assert name in vars(type(dspy.Signature))
