"""pytest fixtures. In a conftest.py: ``pytest_plugins = ["dspex.runtime.testing.fixtures"]``.

``virtual_backend``
    Virtual time, on asyncio and on trio: every test that uses it runs twice. Let your ``anyio_backend`` return it.
``rt``
    An open runtime; it is closed, and must close, when the test ends.
``leak_free``
    The test fails if it leaves a task, actor, timer, thread, file descriptor or child process behind.

``pytest --dspex-seed=7`` runs every virtual loop under that seed, ``--dspex-seed=random`` under a new one, which the header
of the report names.

This is the only module of the package that imports pytest.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ..runtime import Runtime, open_runtime
from .backends import virtual_backend as make_backend
from .leaks import no_leaks

_SEED = pytest.StashKey[int | None]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    parser.getgroup("dspex").addoption(
        "--dspex-seed",
        default=None,
        metavar="N",
        help="order of ready tasks on virtual loops: a number, or 'random'; by default the loop's own order",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read it, once."""
    given: str | None = config.getoption("--dspex-seed")
    if given is None:
        config.stash[_SEED] = None
    elif given == "random":
        config.stash[_SEED] = random.randrange(1_000_000)
    else:
        try:
            config.stash[_SEED] = int(given)
        except ValueError:
            raise pytest.UsageError(f"--dspex-seed is a number or 'random', not {given!r}") from None


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say which seed it is."""
    seed = config.stash.get(_SEED, None)
    return None if seed is None else f"dspex: seed {seed} (repeat it with --dspex-seed={seed})"


@pytest.fixture(params=["asyncio", "trio"])
def virtual_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A value for ``anyio_backend``: each loop with a virtual clock."""
    return make_backend(request.param, seed=request.config.stash.get(_SEED, None))


@pytest.fixture
async def rt(anyio_backend: object) -> AsyncGenerator[Runtime]:
    """An open runtime."""
    async with open_runtime() as runtime:
        yield runtime


@pytest.fixture
async def leak_free(anyio_backend: object) -> AsyncGenerator[None]:
    """Nothing is left behind. Name it before ``rt`` in a test's parameters, so that the runtime is closed first."""
    async with no_leaks():
        yield
