"""The routing actor: decides by the flags, hands the request and the right to answer it to an arm.

    router = rt.ref("router")
    answer = await router.within(60).call(Router.run, "qa", {"question": "Why?"}, key="user-7")
    answer["answer"], answer.route.engine

Events:

    router.decided           program, engine, reason     where a request goes
    router.fell_back         program, error              native could not serve it, and legacy is asked; error: its class
    router.chooser_failed    program, error              the chooser raised; the flags decide
    router.flags.changed     by, changes                 changes: the flags that changed, with their values of now
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, cast, final

from ..engine import Price
from ..engine.errors import AdapterParseError, LMUnsupportedFeatureError
from ..runtime import NamedRef, Refuse, Reply
from ..supervisors import Child
from .arms import Arm, Fallback, LegacyArm, NativeArm
from .book import Book
from .decision import decide
from .delivery import Delivery
from .errors import ArmDown, EngineMissing, UnknownProgram
from .flag_journal import FlagJournal
from .flags import FlagChange, FlagStore
from .journal import Journal
from .ledger import Ledger
from .open_feature import Chooser, choice
from .request import Answer, Attempt, Engine, Request, RoutedProgram
from .requirement import MeasuredBy, Requirement
from .rollback import RollbackPolicy
from .shadow import Comparison, Shadow, ShadowOptions
from .telemetry import RequestTrace

FALLBACK_ON: Final[tuple[type[Exception], ...]] = (AdapterParseError, LMUnsupportedFeatureError)
"""What makes the legacy pool worth asking: the native engine could not read the answer, or cannot do what was asked.
Not a provider that is down or a request that is wrong: those would fail there as well."""

ARMS: Final[Mapping[Engine, str]] = {"native": "native", "legacy": "legacy-arm"}
"""The registered names of the arms that ``router_children`` makes."""


@final
class Router(Fallback):
    """Sends each request one way. It holds no request: what is under way is the arms'."""

    def __init__(
        self,
        programs: Iterable[RoutedProgram],
        flags: FlagStore,
        *,
        arms: Mapping[Engine, str] | None = None,
        chooser: Chooser | None = None,
        measured: MeasuredBy | None = None,
    ) -> None:
        self._programs = {program.name: program for program in programs}
        self._flags = flags
        self._arms = dict(arms or ARMS)
        self._chooser = chooser
        self._measured = measured
        self._counts: dict[str, int] = {"native": 0, "legacy": 0, "fell_back": 0}

    async def init(self) -> None:
        """Hear of flag changes, to announce them."""
        unsubscribe = self._flags.subscribe(lambda change: self._announce(change) if self.ref.alive else unsubscribe())

    def _announce(self, change: FlagChange) -> None:
        self.rt.events.emit("router.flags.changed", by=change.by, changes=change.changes)

    def run(
        self,
        program: str,
        inputs: Mapping[str, object],
        *,
        key: str | None = None,
        engine: Engine | None = None,
        require: Requirement | str | None = None,
        asked_at: float | None = None,
        delivery: Delivery | None = None,
        trace: RequestTrace | None = None,
    ) -> Answer:
        """Ask a program.

        ``key`` makes a rollout stick: the same key goes the same way. ``engine`` sends this one request to that engine,
        whatever the flags say. ``require`` bounds its latency or cost (see ``requirement``). ``asked_at``: when the caller
        asked, in seconds of the runtime's clock, so that the router's own share can be told; None: now.
        ``delivery`` is given the pieces of the answer while it is written; once it has one, no other engine is asked.
        ``trace`` is told of the decision, and of each engine that is asked.

        Raises UnknownProgram, EngineMissing, ArmDown, ValueError for a bound that is none, or what the engine that was
        chosen raises. Cancelled: the work is cancelled where it is done.
        """
        # What cannot even be looked up must not be the router's end: callers give a request to its successor.
        routed = self._programs.get(program) if isinstance(cast(object, program), str) else None
        if routed is None:
            raise Refuse(UnknownProgram(program, self._programs))
        if engine is not None and (not isinstance(cast(object, engine), str) or engine not in self._arms):
            raise Refuse(ValueError(f"engine is one of {', '.join(self._arms)}, not {engine!r}"))
        try:
            bound = None if require is None else Requirement.parse(require)
        except ValueError as error:
            raise Refuse(error) from None
        chosen = self._asked_chooser(program, key) if engine is None else None
        try:
            decision = decide(
                self._flags.current,
                routed,
                key,
                asked=engine if chosen is None else chosen[0],
                require=bound,
                measured=self._measured,
            )
        except EngineMissing as error:
            if chosen is not None:
                raise Refuse(EngineMissing(program, chosen[0], f"the chooser ({chosen[1]})")) from None
            raise Refuse(error) from None
        request = Request(
            routed,
            inputs,
            decision.engine,
            decision.reason if chosen is None else chosen[1],
            self.rt.now(),
            self.deadline,
            key=key,
            shadow=decision.shadow,
            asked_at=asked_at,
            delivery=delivery,
            trace=trace,
        )
        if trace is not None:
            trace.decided(request.engine, request.reason)
        self.rt.events.emit("router.decided", program=program, engine=request.engine, reason=request.reason)
        self._hand(request, self.defer())
        return cast(Answer, None)  # the arm answers

    def _asked_chooser(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        if self._chooser is None:
            return None
        try:
            return choice(self._chooser, program, key)
        except Exception as error:  # somebody else's code: its failure must not be the request's, nor the router's
            self.rt.events.emit("router.chooser_failed", program=program, error=f"{type(error).__name__}: {error}")
            return None

    def _hand(self, request: Request, reply: Reply) -> None:
        name = self._arms[request.engine]
        arm: NamedRef[Arm] = self.rt.ref(name)
        target = arm.resolve()
        if target is None or not reply.hand_over(target):
            reply.refuse(ArmDown(request.program.name, request.engine, name))
            return
        self._counts[request.engine] += 1
        other = self.ref if self._may_fall_back(request) else None
        target.cast(Arm.serve, request, reply, other)

    def _may_fall_back(self, request: Request) -> bool:
        return (
            self._flags.current.fallback_to_legacy
            and request.engine == "native"
            and request.program.legacy is not None
            and not request.failed
        )

    def fall_back(self, request: Request, reply: Reply, error: Exception) -> None:
        """See ``Fallback``."""
        self._counts["fell_back"] += 1
        self.rt.events.emit("router.fell_back", program=request.program.name, error=type(error).__name__)
        attempt = Attempt(request.engine, f"{type(error).__name__}: {error}")
        again = replace(
            request,
            engine="legacy",
            reason=f"fallback_to_legacy after {type(error).__name__}",
            failed=(*request.failed, attempt),
            shadow=None,
        )
        self._hand(again, reply)

    def statistics(self) -> Mapping[str, int]:
        """Requests by engine, and fallbacks, since the start of this incarnation."""
        return dict(self._counts)

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        return ", ".join(f"{count} {name}" for name, count in self._counts.items())


def router_children(
    programs: Iterable[RoutedProgram],
    flags: FlagStore,
    *,
    fallback_on: tuple[type[Exception], ...] = FALLBACK_ON,
    chooser: Chooser | None = None,
    shadow: ShadowOptions | None = None,
    journal: str | os.PathLike[str] | None = None,
    rollback: RollbackPolicy | None = None,
    book: Book | None = None,
    prices: Mapping[str, Price] | None = None,
) -> list[Child]:
    """The child specs of the router and what belongs to it, for a supervisor of one's own (one_for_one).

    They take the names ``native``, ``legacy-arm``, ``shadow``, ``ledger``, ``router``, and ``journal`` and
    ``flag-journal`` if ``journal`` names a file to keep comparisons and changes of flags in (see ``shadow_report`` and
    ``flag_history``). ``rollback``: see ``RollbackPolicy``; None: never.
    ``book``: where it is counted, for who wants to read it; it brings its own rollback policy.
    ``prices``: of the models, by the name that `LM(...)` was given, to tell what requests cost.
    """
    listed = list(programs)
    options = shadow or ShadowOptions()
    book = book or Book(rollback)
    children: list[Child] = []
    if journal is not None:
        children.append(Child("journal", lambda: Journal(journal), name="journal"))
        children.append(Child("flag-journal", lambda: FlagJournal(journal, flags), name="flag-journal"))
    return [
        *children,
        Child("ledger", lambda book=book: _ledger(book, flags, kept=journal is not None), name="ledger"),
        Child("shadow", lambda: _shadow(options), name="shadow"),
        Child("native", lambda: NativeArm(fallback_on, observer="ledger", book=book, prices=prices), name="native"),
        Child("legacy-arm", lambda: LegacyArm(observer="ledger", book=book, prices=prices), name="legacy-arm"),
        Child("router", lambda: Router(listed, flags, chooser=chooser, measured=book.measured), name="router"),
    ]


def _ledger(book: Book, flags: FlagStore, *, kept: bool) -> Ledger:
    def keep(comparison: Comparison) -> None:
        ledger.rt.ref("journal").cast(Journal.add, comparison)

    ledger = Ledger(book, flags, keep=keep if kept else None)
    return ledger


def _shadow(options: ShadowOptions) -> Shadow:
    def report(comparison: Comparison) -> None:
        shadow.rt.ref("ledger").cast(Ledger.compared, comparison)

    shadow = Shadow(options, ARMS, report)
    return shadow
