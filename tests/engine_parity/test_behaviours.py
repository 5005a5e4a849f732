"""Several hundred small behaviours, run in the installed dspy and in the engine: a program cannot tell them apart.

Where the engine differs on purpose, `ON_PURPOSE` says why; where only the words of an error are ours, `OWN_WORDS` does.
"""

from __future__ import annotations

from types import ModuleType

import behaviours_clients
import behaviours_predict
import behaviours_programs
import behaviours_records
import behaviours_signatures
import dspex.engine as engine
import pytest
from deliberate import ON_PURPOSE, OWN_WORDS
from outcomes import Behaviour, differences, observe

BEHAVIOURS: dict[str, Behaviour] = {
    f"{room}: {name}": behaviour
    for room, corpus in (
        ("records", behaviours_records.BEHAVIOURS),
        ("signatures", behaviours_signatures.BEHAVIOURS),
        ("predict", behaviours_predict.BEHAVIOURS),
        ("programs", behaviours_programs.BEHAVIOURS),
        ("clients", behaviours_clients.BEHAVIOURS),
    )
    for name, behaviour in corpus.items()
}


@pytest.mark.parametrize("name", [name for name in BEHAVIOURS if name not in ON_PURPOSE])
def test_a_program_cannot_tell_the_engine_from_dspy(dspy: ModuleType, name: str) -> None:
    theirs = observe(BEHAVIOURS[name], dspy)
    ours = observe(BEHAVIOURS[name], engine)
    assert differences(theirs, ours, wording=name not in OWN_WORDS) == []


@pytest.mark.parametrize("name", ON_PURPOSE)
def test_what_differs_on_purpose_still_differs(dspy: ModuleType, name: str) -> None:
    theirs = observe(BEHAVIOURS[name], dspy)
    ours = observe(BEHAVIOURS[name], engine)
    assert differences(theirs, ours), "they are equal by now: take the entry out"
    assert ours.error is None or len(str(ours.error)) > 10
