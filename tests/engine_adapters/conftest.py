"""The installed dspy, for the tests that compare with it."""

import warnings
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def dspy() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
        return pytest.importorskip("dspy", reason="comparing with dspy needs the extra `legacy`")
