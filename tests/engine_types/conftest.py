"""Both engines by the same names: those of the types, and of the installed dspy for the tests that compare with it."""

import warnings
from types import SimpleNamespace

import dspex.engine.types as types
import pytest


@pytest.fixture(scope="session")
def ours() -> SimpleNamespace:
    return SimpleNamespace(**{name: getattr(types, name) for name in types.__all__})


@pytest.fixture(scope="session")
def theirs() -> SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
        dspy = pytest.importorskip("dspy", reason="comparing with dspy needs the extra `legacy`")
        import dspy.experimental as experimental
    return SimpleNamespace(
        **{name: getattr(dspy, name, None) or getattr(experimental, name) for name in types.__all__}
    )
