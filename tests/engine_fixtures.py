"""What the tests of the engine share: the installed dspy to compare with, and settings that no test leaves behind.

A folder of tests asks for them in its conftest: ``from engine_fixtures import dspy, settings_are_restored``.
"""

import warnings
from collections.abc import Iterator
from types import ModuleType

import dspex.engine as engine
import pytest


@pytest.fixture(scope="session")
def dspy() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
        return pytest.importorskip("dspy", reason="comparing with dspy needs the extra `legacy`")


@pytest.fixture(autouse=True)
def settings_are_restored() -> Iterator[None]:
    before = engine.settings.copy()
    yield
    engine.configure(**before)
    engine.settings.trace.clear()
