"""What the router refuses, as one small tree.

RouterError
├── BadFlags             values that break a rule, all of them at once            (also a ValueError)
├── UnknownProgram       no program of that name is routed                        (also a LookupError)
├── EngineMissing        the flags choose an engine that this program does not have
├── ArmDown              the actor of the chosen engine is not alive at the moment
├── BadProgram           a program that cannot be served, and why                 (also a ValueError)
├── BadOptimization      a program cannot be optimized so, and what to change      (also a ValueError)
├── JournalUnreadable    a file that is no journal of comparisons
└── AppClosed            the app is not running, or runs already
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class RouterError(Exception):
    """Base of this room's errors."""


class BadFlags(RouterError, ValueError):
    """Flags that cannot hold; ``problems`` has a sentence for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class UnknownProgram(RouterError, LookupError):
    """No program of that name is routed."""

    def __init__(self, program: str, known: Iterable[str]) -> None:
        super().__init__(f"no program is called {program!r}; there are: {', '.join(sorted(known)) or 'none'}")
        self.program = program


class EngineMissing(RouterError):
    """The flags choose an engine that the program does not have; the message names the flag to change."""

    def __init__(self, program: str, engine: str, flag: str) -> None:
        super().__init__(
            f"{flag} sends {program!r} to the {engine} engine, which it was not given: "
            f"change {flag}, or give the program a {engine} side"
        )
        self.program = program
        self.engine = engine
        self.flag = flag


class ArmDown(RouterError):
    """The actor of the chosen engine is not alive: it is being restarted, or was never started. Nothing was run."""

    def __init__(self, program: str, engine: str, name: str) -> None:
        super().__init__(f"{program!r}: the {engine} arm {name!r} is not alive; nothing was run, try again")
        self.program = program
        self.engine = engine
        self.name = name


class BadProgram(RouterError, ValueError):
    """A program that cannot be served as it is described."""

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"program {program!r}: {why}")
        self.program = program


class BadOptimization(RouterError, ValueError):
    """A program cannot be optimized as was asked. Nothing was run."""


class AppClosed(RouterError):
    """The app is not running, or it runs already."""
