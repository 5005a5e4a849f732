"""Where code runs that a model wrote: in a process of its own that the kernel shuts in, never in ours."""

from .deno_interpreter import DenoInterpreter
from .errors import CodeExecutionError, CodeInterpreterError, SandboxUnavailableError
from .interpreter import (
    CodeInterpreter,
    create_interpreter,
    release,
    resolve_interpreter_factory,
    run_code,
    start,
    validate_interpreter,
    validate_interpreter_factory,
)
from .limits import SandboxLimits
from .local_interpreter import LocalInterpreter
from .python_interpreter import PythonInterpreter
from .session import SIMPLE_TYPES, FinalOutput, SandboxSession, SessionStatistics

__all__ = [
    "SIMPLE_TYPES",
    "CodeExecutionError",
    "CodeInterpreter",
    "CodeInterpreterError",
    "DenoInterpreter",
    "FinalOutput",
    "LocalInterpreter",
    "PythonInterpreter",
    "SandboxLimits",
    "SandboxSession",
    "SandboxUnavailableError",
    "SessionStatistics",
    "create_interpreter",
    "release",
    "resolve_interpreter_factory",
    "run_code",
    "start",
    "validate_interpreter",
    "validate_interpreter_factory",
]
