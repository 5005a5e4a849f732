"""These tests run in virtual time, on both loops."""

from typing import Any

import pytest
from dspex.runtime.testing import virtual_backend


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return virtual_backend(request.param)
