"""What can go wrong with running code that a model wrote.

    EngineError
    └── CodeInterpreterError (RuntimeError)     the session is over, or was never possible: the code cannot repair it
        ├── CodeExecutionError                  the code failed; the session goes on, and a model may try again
        └── SandboxUnavailableError             this machine does not permit what a sandbox promises

The first two are dspy 3.4's, by name and use. Invalid syntax raises Python's own SyntaxError, as in dspy.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..failure import EngineError

__all__ = ["CodeExecutionError", "CodeInterpreterError", "SandboxUnavailableError"]


class CodeInterpreterError(EngineError, RuntimeError):
    """An interpreter cannot do its work: host-side setup, its process or its protocol failed."""

    default_code = "code_interpreter"


class CodeExecutionError(CodeInterpreterError):
    """The submitted code raised. The interpreter is well and keeps its state."""

    default_code = "code_execution"


class SandboxUnavailableError(CodeInterpreterError):
    """The kernel refuses a part of the confinement, so no code was run.

    Attributes:
        missing: each guarantee that cannot be given ("files", "network", "processes", "limits"), with the reason.
    """

    default_code = "sandbox_unavailable"

    def __init__(self, missing: Mapping[str, str]) -> None:
        self.missing = dict(missing)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.missing.items())
        super().__init__(
            f"This machine does not permit the sandbox ({reasons}). Inside a container, allow unprivileged user "
            "namespaces and seccomp (for Docker: --security-opt seccomp=unconfined, or a profile that permits unshare "
            "and pivot_root); on Ubuntu, sysctl kernel.apparmor_restrict_unprivileged_userns=0. To run without a "
            f"guarantee, name it: accept_missing={sorted(self.missing)!r}."
        )
