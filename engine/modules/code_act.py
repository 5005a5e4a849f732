"""`CodeAct`: an agent that acts by writing code, with functions of yours defined in the sandbox.

    act = CodeAct("n -> factorial", tools=[factorial])
    pred = await act.acall(n=5)

The source of the functions is run in the sandbox first, so they must stand alone. Deprecated in dspy 3.4 in favour of
`RLM`, and here.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ..example import Prediction
from ..off_loop import ask
from ..predict import Predict
from ..sandbox import CodeInterpreter, PythonInterpreter, run_code, validate_interpreter_factory
from ..signatures import InputField, OutputField, Signature, ensure_signature
from ..sync import run_sync
from ..types import Tool
from .chain_of_thought import ChainOfThought
from .program_of_thought import (
    ProgramOfThought,
    execute_code,
    interpreter_for,
    parse_code,
    refuse_named_interpreter,
)
from .react import ReAct, Trajectory, with_shorter_trajectories

__all__ = ["CodeAct"]


class CodeAct(ReAct, ProgramOfThought):
    """Acts in code, over any signature.

    Attributes:
        tools: by name.
        codeact: the predictor that writes the next piece of code.
        extractor: the `ChainOfThought` that answers from the trajectory.
    """

    def __init__(
        self,
        signature: str | type[Signature],
        tools: Sequence[Callable[..., Any]],
        max_iters: int = 5,
        interpreter_factory: Callable[[], CodeInterpreter] = PythonInterpreter,
    ) -> None:
        """Build the agent.

        Args:
            tools: functions, whose source can be read.
            max_iters: pieces of code at most; a call may say otherwise (`max_iters=`).
            interpreter_factory: as for `ProgramOfThought`.

        Raises:
            ValueError: a tool is not a function.
            TypeError: `interpreter_factory` is not a zero-argument callable.
        """
        warnings.warn(
            "CodeAct is deprecated and will be removed in 3.5. RLM is the preferred replacement.",
            DeprecationWarning,
            stacklevel=3,  # the metaclass's call is between
        )
        validate_interpreter_factory(interpreter_factory)
        self.signature = signature = ensure_signature(signature)
        self.max_iters = max_iters
        made = [each if isinstance(each, Tool) else Tool(each) for each in tools]
        if any(not inspect.isfunction(tool.func) for tool in made):
            raise ValueError("CodeAct only accepts functions and not callable objects.")
        self.tools = {str(tool.name): tool for tool in made}
        self.codeact = Predict(
            Signature({**signature.input_fields}, "\n".join(self._build_instructions(signature, self.tools)))
            .append("trajectory", InputField(), type_=str)
            .append(
                "generated_code",
                OutputField(
                    desc="Python code that when executed, produces output relevant to answering the question"
                ),
                type_=str,
            )
            .append("finished", OutputField(desc="a boolean flag to determine if the process is done"), type_=bool)
        )
        self.extractor = ChainOfThought(
            Signature({**signature.input_fields, **signature.output_fields}, signature.instructions).append(
                "trajectory", InputField(), type_=str
            )
        )
        self._interpreter_factory = interpreter_factory

    def _build_instructions(self, signature: type[Signature], tools: dict[str, Tool]) -> list[str]:
        inputs = ", ".join(f"`{name}`" for name in signature.input_fields)
        outputs = ", ".join(f"`{name}`" for name in signature.output_fields)
        lines = [f"{signature.instructions}\n"] if signature.instructions else []
        lines.append(
            f"You are an intelligent agent. For each episode, you will receive the fields {inputs} as input.\n"
            "Your goal is to generate executable Python code that collects any necessary information for producing "
            f"{outputs}.\n"
            "For each iteration, you will generate a code snippet that either solves the task or progresses towards "
            "the solution.\n"
            "Ensure any output you wish to extract from the code is printed to the console. The code should be "
            "enclosed in a fenced code block.\n"
            f"When all information for producing the outputs ({outputs}) are available to be extracted, mark "
            "`finished=True` besides the final Python code.\n"
            "You have access to the Python Standard Library and the following functions:"
        )
        return [*lines, *(f"({number}) {tool}" for number, tool in enumerate(tools.values(), start=1))]

    def forward(self, interpreter: CodeInterpreter | None = None, /, **kwargs: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, interpreter, **kwargs)

    async def aforward(self, interpreter: CodeInterpreter | None = None, /, **kwargs: Any) -> Prediction:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the agent.

        Args:
            interpreter: one of the caller's, which stays the caller's to shut down.
            max_iters: pieces of code at most, for this call.
            **kwargs: the signature's inputs.

        Returns:
            The signature's outputs, `reasoning`, and `trajectory`.

        Raises:
            CodeInterpreterError: the interpreter failed, or the source of a tool does not run in it.
        """
        refuse_named_interpreter(kwargs, self.signature.input_fields)
        async with interpreter_for(interpreter, self._interpreter_factory) as session:
            for tool in self.tools.values():
                await run_code(session, inspect.getsource(tool.func))
            trajectory: Trajectory = {}
            for step in range(kwargs.pop("max_iters", self.max_iters)):
                written = await ask(self.codeact, trajectory=trajectory, **kwargs)
                code, error = parse_code(written)
                if error:
                    trajectory[f"observation_{step}"] = f"Failed to parse the generated code: {error}"
                    continue
                trajectory[f"generated_code_{step}"] = code
                output, error = await execute_code(code, session)
                if error:
                    trajectory[f"observation_{step}"] = f"Failed to execute the generated code: {error}"
                else:
                    trajectory[f"code_output_{step}"] = output
                if written.finished:
                    break
            extract = await with_shorter_trajectories(self, self.extractor, trajectory, kwargs)
            return Prediction(trajectory=trajectory, **extract)
