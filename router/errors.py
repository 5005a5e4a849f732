"""What the router refuses, as one small tree.

RouterError
├── BadFlags             values that break a rule, all of them at once            (also a ValueError)
├── UnknownProgram       no program of that name is routed                        (also a LookupError)
├── UnknownFeature       no feature, import path or program is called that        (also a LookupError)
├── UnreadableProgram    the source of a program to explain cannot be read         (also a ValueError)
├── EngineMissing        the flags choose an engine that this program does not have
├── ArmDown              the actor of the chosen engine is not alive at the moment
├── BadProgram           a program that cannot be served, and why                 (also a ValueError)
├── UnknownField         no output field of that name can be listened to          (also a LookupError)
├── StreamBroken         an answer broke off after pieces of it had been read
├── BadOptimization      a program cannot be optimized so, and what to change      (also a ValueError)
├── JournalUnreadable    a file that is no journal of comparisons
├── ControlUnavailable   the control socket cannot be opened at that path          (also an OSError)
│   └── ControlTaken     another running application has it
└── AppClosed            the app is not running, or runs already
    └── AppDraining      it takes no more requests: it is about to stop
"""

from __future__ import annotations

import os
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


class UnknownFeature(RouterError, LookupError):
    """Nothing in the feature registry has that name; ``near`` has those that are like it."""

    def __init__(self, name: str, near: Sequence[str]) -> None:
        meant = f"did you mean {', '.join(map(repr, near))}? " if near else ""
        super().__init__(
            f"{name!r} is no feature: {meant}A feature is called by its id in docs/feature-matrix.md, or as dspy calls it; "
            'a program by its import path, as in "shop.programs:qa"'
        )
        self.name = name
        self.near = tuple(near)


class UnreadableProgram(RouterError, ValueError):
    """The source of a program cannot be read, or does not define it."""

    def __init__(self, program: str, why: str) -> None:
        super().__init__(f"{program!r} cannot be explained: {why}")
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


class UnknownField(RouterError, LookupError):
    """A stream was to listen to what is no output field of the program. Nothing was asked."""

    def __init__(self, program: str, field: str, known: Iterable[str]) -> None:
        super().__init__(
            f"{program!r} has no output field {field!r} to listen to; it has: {', '.join(known) or 'none'}"
        )
        self.program = program
        self.field = field


class StreamBroken(RouterError):
    """An answer broke off after ``pieces`` of it had come; ``__cause__`` says of what.

    No other engine was asked: the reader has the beginning of this one's answer already.
    """

    def __init__(self, program: str, pieces: int, cause: BaseException) -> None:
        super().__init__(
            f"{program!r}: the answer broke off after {pieces} pieces of it ({type(cause).__name__}: {cause}); "
            "ask again for a whole one"
        )
        self.program = program
        self.pieces = pieces


class ControlUnavailable(RouterError, OSError):
    """The control socket cannot be opened at ``path``; the message says why, and what to do. Nothing there was changed."""

    def __init__(self, path: str | os.PathLike[str], why: str) -> None:
        super().__init__(f"the control socket {os.fspath(path)} cannot be opened: {why}")
        self.path = os.fspath(path)


class ControlTaken(ControlUnavailable):
    """Another running application has this path; ``pid`` is its process, as it wrote it down."""

    def __init__(self, path: str | os.PathLike[str], pid: str) -> None:
        super().__init__(path, f"the application with process id {pid or '?'} has it; give each a path of its own")
        self.pid = pid


class BadOptimization(RouterError, ValueError):
    """A program cannot be optimized as was asked. Nothing was run."""


class AppClosed(RouterError):
    """The app is not running, or it runs already."""


class AppDraining(AppClosed):
    """The app takes no more requests: it finishes those it has, and stops. Ask another one."""
