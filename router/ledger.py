"""Who keeps count: every outcome comes here once, after the caller has its answer.

From the counts come the statistics, and the automatic rollback; requests that are to have a shadow are passed on. What is
counted lives in a ``Book`` outside the actor, as the flags do, so that a restarted ledger goes on where it was.

Events:

    router.parity         program, score      the answers of both engines were compared: 0 to 1
    router.rolled_back    program, reason     its native side did worse: legacy serves, native is the shadow
    router.restored       program, reason     its native side is well again, and has its traffic back
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from .book import Book
from .flags import FlagChange, FlagStore
from .outcomes import Observer, Outcome
from .request import Engine
from .rollback import BY, Verdict, Watch
from .shadow import Comparison, Shadow
from .statistics import ArmStatistics


@final
class Ledger(Observer):
    """Counts, watches, passes on. ``shadow`` is the registered name of the actor that runs shadows; ``keep`` hears of each
    comparison. Arms that have the book count for themselves, and tell it only of what is to be acted on."""

    def __init__(
        self,
        book: Book,
        flags: FlagStore,
        *,
        shadow: str = "shadow",
        keep: Callable[[Comparison], None] | None = None,
    ) -> None:
        self._book = book
        self._flags = flags
        self._shadow = shadow
        self._keep = keep
        self._acting = False

    async def init(self) -> None:
        """Hear of flag changes: a program that somebody moves is theirs again."""
        unsubscribe = self._flags.subscribe(lambda change: self._moved(change) if self.ref.alive else unsubscribe())

    def observe(self, outcome: Outcome) -> None:
        """See ``Observer``."""
        if not outcome.counted:
            self._book.count(outcome)
        watch = self._watch(outcome.program)
        if watch is not None:
            self._act(outcome.program, watch, watch.outcome(outcome, self.rt.now()))
        if outcome.request is not None:
            shadow = self.rt.whereis(self._shadow)
            if shadow is not None:
                shadow.cast(Shadow.compare, outcome)

    def compared(self, comparison: Comparison) -> None:
        """Take a comparison of two answers into account."""
        if self._keep is not None:
            self._keep(comparison)
        if comparison.score is None:
            return
        self.rt.events.emit("router.parity", program=comparison.program, score=comparison.score)
        watch = self._watch(comparison.program)
        # A request that both or one could not answer is counted by its outcomes already.
        if watch is not None and comparison.served_error is None and comparison.shadow_error is None:
            self._act(comparison.program, watch, watch.compared(comparison.score, self.rt.now()))

    def statistics(self) -> Mapping[str, Mapping[Engine, ArmStatistics]]:
        """By program, then by engine; since the book was opened."""
        return self._book.statistics()

    def _watch(self, program: str) -> Watch | None:
        if self._book.rollback is None:
            return None
        watch = self._book.watches.get(program)
        if watch is None:
            watch = self._book.watches[program] = Watch(self._book.rollback)
        return watch

    def _act(self, program: str, watch: Watch, verdict: Verdict | None) -> None:
        if verdict is None:
            return
        flags = self._flags.current
        if verdict.action == "roll_back":
            if flags.mode.get(program) in ("legacy", "shadow") and flags.shadow_serves == "legacy":
                return  # it is where it would be sent
            self._book.before[program] = (flags.mode.get(program), flags.native_percent.get(program))
            changes = flags.for_program(program, "shadow")
            changes["shadow_serves"] = "legacy"
        else:
            mode, percent = self._book.before.pop(program, (None, None))
            changes = flags.for_program(program, mode or ("rollout" if percent is not None else "native"), percent)
            if mode is None:
                changes["mode"] = {name: value for name, value in changes["mode"].items() if name != program}
        watch.acted(verdict, self.rt.now())
        self._acting = True
        try:
            self._flags.set(by=f"{BY}: {verdict.reason}", **changes)
        finally:
            self._acting = False
        if verdict.action == "roll_back":
            self.rt.events.emit("router.rolled_back", program=program, reason=verdict.reason)
        else:
            self.rt.events.emit("router.restored", program=program, reason=verdict.reason)

    def _moved(self, change: FlagChange) -> None:
        if self._acting:
            return
        for program, watch in self._book.watches.items():
            for flag in ("mode", "native_percent"):
                if getattr(change.before, flag).get(program) != getattr(change.after, flag).get(program):
                    watch.reset()
                    self._book.before.pop(program, None)

    def tree_detail(self) -> str:
        """See ``Actor.tree_detail``."""
        rolled_back = [name for name, watch in self._book.watches.items() if watch.rolled_back_at is not None]
        return f"rolled back: {', '.join(rolled_back)}" if rolled_back else ""
