"""The installed dspy as judge; both packages' settings as new for every behaviour."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from types import ModuleType

import dspex.engine as engine
import pytest


@pytest.fixture(scope="session")
def dspy() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dspy's own dependencies warn at import
        found = pytest.importorskip("dspy", reason="comparing with dspy needs the extra `legacy`")
    logging.getLogger("dspy").propagate = False
    return found


@pytest.fixture(autouse=True)
def settings_as_new(dspy: ModuleType) -> Iterator[None]:
    before = [(each, dict(each.settings.config)) for each in (dspy, engine)]
    for each, values in before:
        each.settings.configure(**{**values, "trace": []})
    yield
    for each, values in before:
        each.settings.configure(**{**values, "trace": []})
