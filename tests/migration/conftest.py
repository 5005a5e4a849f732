"""What the tests of the migration tools share."""

from __future__ import annotations

import pytest
from dspex.migration import CheckReport, check
from engine_fixtures import dspy, settings_are_restored
from migration_corpus import CORPUS

__all__ = ["dspy", "settings_are_restored"]


@pytest.fixture(scope="session")
def corpus() -> CheckReport:
    return check([CORPUS])
