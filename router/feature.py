"""`Feature`: one thing that dspy offers, and what the native engine makes of it.

Whether the engine has it is not written down here: it is asked, so that what an engine gains is native from that moment
on. Written down is only what nobody can ask: what behaves differently, and what to do where it is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, final

from .. import engine
from ..engine.dspy_names import NOT_OFFERED, DspyModule

Status = Literal["native", "native with changes", "legacy only", "not offered"]
"""native: the engine has it, with dspy's names, prompts and results. native with changes: the same, but for what
`reason` says. legacy only: a worker process that runs the real dspy has it, the engine has not. not offered: neither
serves it, for the reason given."""

Elsewhere = Literal["legacy only", "not offered"]

_NATIVE_TODO: Final = "import dspex.engine as dspy"
_LEGACY_TODO: Final = "give the program a legacy side, and it runs in a worker process with the real dspy"


@final
@dataclass(frozen=True, slots=True)
class Feature:
    """One record of the registry. ``status``, ``reason`` and ``todo`` are of now: they follow what the engine offers."""

    id: str
    """As flags and `explain` call it: "react"."""
    kind: str
    names: tuple[str, ...]
    """As dspy calls it, without the leading ``dspy.``; the first is the one to show."""
    since: str
    """The oldest dspy series that has it under this name; "2.5" means that or an older one."""
    changes: str = ""
    """What is different natively; empty: nothing that a program sees."""
    elsewhere: Elsewhere = "legacy only"
    """What it is, where the engine does not have all of its names."""
    why: str = ""
    """Why the engine does not have it, where the engine itself does not say."""
    instead: str = ""
    """What to do where it is not native; empty: let a worker run it."""
    refuses: bool = False
    """True: the engine has the names only to say where the work is done."""

    @property
    def native(self) -> bool:
        """True if the engine has all of it."""
        return not self.refuses and all(has(name) for name in self.names)

    @property
    def status(self) -> Status:
        """See ``Status``."""
        if not self.native:
            return self.elsewhere
        return "native with changes" if self.changes else "native"

    @property
    def reason(self) -> str:
        """Why it has that status, in words."""
        if self.native:
            return self.changes or f"names, prompts and results of dspy {engine.__version__}"
        missing = [name for name in self.names if not has(name)]
        said = next((NOT_OFFERED[name] for name in missing if name in NOT_OFFERED), "")
        return self.why or said or f"the native engine has no {', '.join(missing)}"

    @property
    def todo(self) -> str:
        """What to do about it, in words."""
        return _NATIVE_TODO if self.native else self.instead or _LEGACY_TODO

    def to_dict(self) -> dict[str, Any]:
        """The record and its status of now, as JSON has it."""
        return {
            "id": self.id,
            "kind": self.kind,
            "names": list(self.names),
            "since": self.since,
            "status": self.status,
            "reason": self.reason,
            "todo": self.todo,
        }


def has(name: str) -> bool:
    """True if the engine has what dspy calls ``dspy.<name>``; a dotted name is looked up, which imports its module."""
    if name in engine.__all__:
        return True
    found: Any = _DSPY
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except (AttributeError, ImportError):
            return False
    return True


_DSPY: Final = DspyModule("dspy", "")  # dspy as the engine stands for it, under no name in this process
