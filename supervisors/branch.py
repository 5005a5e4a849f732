"""A tree of supervisors written down as what it is.

    root = Supervisor([
        Child("cache", Cache),
        branch("web", [
            Child("listener", Listener),
            branch("sessions", [Child("store", Store)], strategy="rest_for_one"),
        ], strategy="one_for_all", intensity=5),
    ])
"""

from __future__ import annotations

from collections.abc import Iterable

from .backoff import Backoff
from .specs import AutoShutdown, Child, Restart, Strategy
from .specs import Shutdown as ShutdownTime
from .supervisor import Supervisor


def branch(
    id: str,
    children: Iterable[Child],
    *,
    strategy: Strategy = "one_for_one",
    intensity: int = 1,
    period: float = 5.0,
    auto_shutdown: AutoShutdown = "never",
    backoff: Backoff | None = None,
    restart: Restart = "permanent",
    shutdown: ShutdownTime | None = None,
    significant: bool = False,
    name: str | None = None,
) -> Child:
    """The spec of a child that is a supervisor; the options are those of ``Supervisor`` and ``Child``.

    Everything is checked here, where it is written, and not when the tree starts. Raises BadChildSpec.
    """
    listed = children if isinstance(children, Child | str) else tuple(children)

    def make() -> Supervisor:
        return Supervisor(
            listed,  # pyright: ignore[reportArgumentType]
            strategy=strategy,
            intensity=intensity,
            period=period,
            auto_shutdown=auto_shutdown,
            backoff=backoff,
        )

    make()
    return Child(
        id, make, restart=restart, shutdown=shutdown, type="supervisor", significant=significant, name=name
    )
