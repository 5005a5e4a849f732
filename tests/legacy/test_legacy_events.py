"""The catalogue of events at the heads of the modules is what is emitted, and each is met in a test."""

import re
from pathlib import Path

import dspex.legacy

ROOM = Path(dspex.legacy.__file__).parent
TESTS = Path(__file__).parent

EMITTED = re.compile(r'emit\(\s*"(legacy\.[a-z_.]+)"')
DECLARED = re.compile(r"^    (legacy\.[a-z_]+\.[a-z_]+) ", re.MULTILINE)


def test_every_event_that_is_emitted_is_declared_and_the_other_way_round() -> None:
    sources = [file.read_text() for file in ROOM.glob("*.py")]
    emitted = {name for source in sources for name in EMITTED.findall(source)}
    declared = {name for source in sources for name in DECLARED.findall(source)}
    assert emitted == declared


def test_every_event_is_met_in_a_test() -> None:
    tests = "".join(file.read_text() for file in TESTS.glob("test_*.py"))
    declared = {name for file in ROOM.glob("*.py") for name in DECLARED.findall(file.read_text())}
    assert {name for name in declared if f'"{name}"' not in tests} == set()
