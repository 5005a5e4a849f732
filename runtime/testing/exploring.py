"""Run a scenario under many seeds, and keep the one that fails.

    explore(scenario, seeds=range(100))         # SeedFailed: seed 41 on trio: ...; that seed fails again
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import final

import anyio

from .backends import BackendName, virtual_backend


@final
class SeedFailed(AssertionError):
    """A scenario failed under a seed. ``__cause__`` is what it raised; ``seed`` and ``backend`` repeat it."""

    def __init__(self, backend: str, seed: int, error: BaseException) -> None:
        super().__init__(backend, seed)
        self.backend = backend
        self.seed = seed
        self.__cause__ = error

    def __str__(self) -> str:
        return (
            f"seed {self.seed} on {self.backend}: {self.__cause__!r}; repeat it with "
            f"explore(..., seeds=[{self.seed}], backends=[{self.backend!r}])"
        )


def explore(
    scenario: Callable[[], Awaitable[object]],
    *,
    seeds: Iterable[int] = range(20),
    backends: Sequence[BackendName] = ("asyncio", "trio"),
) -> None:
    """Run an async function under each seed on each loop, in virtual time; stop at the first failure.

    Raises SeedFailed. Give it a function that makes everything anew. Not from inside a running loop.
    """
    for seed in seeds:
        for backend in backends:
            name, options = virtual_backend(backend, seed=seed)
            try:
                anyio.run(scenario, backend=name, backend_options=options)
            except Exception as error:
                raise SeedFailed(backend, seed, error) from error
