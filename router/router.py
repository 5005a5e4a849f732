"""The routing actor: decides by the flags, hands the request and the right to answer it to an arm.

    router = rt.ref("router")
    answer = await router.within(60).call(Router.run, "qa", {"question": "Why?"}, key="user-7")
    answer["answer"], answer.route.engine

Events: router.decided (program, engine, reason), router.fell_back (program, error), router.flags.changed (by, changes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, cast, final

from ..engine.errors import AdapterParseError, LMUnsupportedFeatureError
from ..runtime import NamedRef, Refuse, Reply
from ..supervisors import Child
from .arms import Arm, Fallback, LegacyArm, NativeArm
from .decision import decide
from .errors import ArmDown, EngineMissing, UnknownProgram
from .flags import FlagChange, FlagStore
from .request import Answer, Attempt, Request, RoutedProgram

FALLBACK_ON: Final[tuple[type[Exception], ...]] = (AdapterParseError, LMUnsupportedFeatureError)
"""What makes the legacy pool worth asking: the native engine could not read the answer, or cannot do what was asked.
Not a provider that is down or a request that is wrong: those would fail there as well."""


@final
class Router(Fallback):
    """Sends each request one way. It holds no request: what is under way is the arms'."""

    def __init__(
        self, programs: Iterable[RoutedProgram], flags: FlagStore, *, arms: Mapping[str, str] | None = None
    ) -> None:
        self._programs = {program.name: program for program in programs}
        self._flags = flags
        self._arms = dict(arms or {"native": "native", "legacy": "legacy-arm"})
        self._counts: dict[str, int] = {"native": 0, "legacy": 0, "fell_back": 0}

    async def init(self) -> None:
        """Hear of flag changes, to announce them."""
        unsubscribe = self._flags.subscribe(lambda change: self._announce(change) if self.ref.alive else unsubscribe())

    def _announce(self, change: FlagChange) -> None:
        names = change.after.__dataclass_fields__
        changes = {n: getattr(change.after, n) for n in names if getattr(change.after, n) != getattr(change.before, n)}
        self.rt.events.emit("router.flags.changed", by=change.by, changes=changes)

    def run(self, program: str, inputs: Mapping[str, object], *, key: str | None = None) -> Answer:
        """Ask a program. ``key`` makes a rollout stick: the same key goes the same way.

        Raises UnknownProgram, EngineMissing, ArmDown, or what the engine that was chosen raises. Cancelled: the work is
        cancelled where it is done.
        """
        routed = self._programs.get(program)
        if routed is None:
            raise Refuse(UnknownProgram(program, self._programs))
        try:
            decision = decide(self._flags.current, routed, key)
        except EngineMissing as error:
            raise Refuse(error) from None
        request = Request(routed, inputs, decision.engine, decision.reason, self.rt.now(), self.deadline)
        self.rt.events.emit("router.decided", program=program, engine=decision.engine, reason=decision.reason)
        self._hand(request, self.defer())
        return cast(Answer, None)  # the arm answers

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
        reason = f"fallback_to_legacy after {type(error).__name__}"
        again = Request(
            request.program,
            request.inputs,
            "legacy",
            reason,
            request.since,
            request.deadline,
            (*request.failed, attempt),
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
) -> list[Child]:
    """The child specs of the two arms and the router, for a supervisor of one's own (one_for_one).

    They take the names ``native``, ``legacy-arm`` and ``router``.
    """
    listed = list(programs)
    return [
        Child("native", lambda: NativeArm(fallback_on), name="native"),
        Child("legacy-arm", LegacyArm, name="legacy-arm"),
        Child("router", lambda: Router(listed, flags), name="router"),
    ]
