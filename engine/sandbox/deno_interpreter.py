"""`DenoInterpreter`: the sandbox of WebAssembly, for machines whose kernel has no namespaces to give.

    pip install deno                                    # the runtime
    npm pack pyodide && tar xzf pyodide-*.tgz           # CPython for it, a folder `package`

    with DenoInterpreter(pyodide="package") as interpreter:
        interpreter.execute("sum(range(10))")

Python runs as Pyodide in Deno, which has permission to read these two folders until it has loaded them, and none after
that. Both come from files on this machine: nothing is downloaded, unlike by dspy's `PythonInterpreter`. It starts in some
seconds (the locked process: 0.06 s), cannot tell code that its time is over (its process is killed, the session ends),
and Python packages that Pyodide would fetch are not there.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import CodeInterpreterError
from .limits import SandboxLimits
from .process import INSIDE, SandboxProcess
from .python_interpreter import PythonInterpreter

__all__ = ["DenoInterpreter"]

_NEEDED = ("pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json")
_START_SECONDS = 120.0
"""A start takes 3 s of processor time, which may be long on a busy machine."""

_PAGE = 65536
"""Bytes of a page of WebAssembly memory."""


class DenoInterpreter(PythonInterpreter):
    """A Python session in Deno. Of the limits, those on processor time do not apply; `seconds` ends the session."""

    def __init__(
        self,
        pyodide: str | Path,
        deno: str | Path | None = None,
        *,
        tools: Mapping[str, Callable[..., Any]] | None = None,
        output_fields: list[dict[str, Any]] | None = None,
        callbacks: Sequence[object] | None = None,
        limits: SandboxLimits | None = None,
    ) -> None:
        """Describe an interpreter. The files are looked for when it starts.

        Args:
            pyodide: the folder of the npm package `pyodide`.
            deno: the program; default that of the PyPI package `deno`, else the one on the PATH.
            tools, output_fields, callbacks, limits: as for `PythonInterpreter`.
        """
        super().__init__(tools=tools, output_fields=output_fields, callbacks=callbacks, limits=limits)
        self.pyodide = Path(pyodide)
        self.deno = deno

    async def _open(self) -> SandboxProcess:
        folder = self.pyodide.resolve()
        absent = [name for name in _NEEDED if not (folder / name).is_file()]
        if absent:
            raise CodeInterpreterError(
                f"{folder} is not the npm package `pyodide`: it lacks {', '.join(absent)}. Get it by `npm pack pyodide` and "
                "unpack it."
            )
        argv = [
            self._program(),
            "run",
            *("--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--no-npm"),
            f"--allow-read={folder},{INSIDE.resolve()}",
            f"--v8-flags=--wasm-max-mem-pages={max(1024, self.limits.memory_bytes // _PAGE)}",
            str(INSIDE.resolve() / "pyodide.mjs"),
            *(str(folder), str(INSIDE.resolve())),
        ]
        return await SandboxProcess.open(argv, self.limits, start_seconds=_START_SECONDS)

    def _program(self) -> str:
        candidates = [self.deno] if self.deno else [Path(sysconfig.get_path("scripts")) / "deno", shutil.which("deno")]
        for candidate in candidates:
            if candidate and Path(candidate).is_file():
                return str(candidate)
        raise CodeInterpreterError(
            "There is no Deno. Install the package `deno` (pip install deno), or name the program: deno=..."
        )
