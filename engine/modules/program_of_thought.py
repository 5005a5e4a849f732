"""`ProgramOfThought`: the model writes a program, the sandbox runs it, the model answers from what came out.

    pot = ProgramOfThought("question -> answer")
    pred = await pot.acall(question="What is the 30th Fibonacci number?")

Deprecated in dspy 3.4 in favour of `RLM`, and here.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ..example import Prediction
from ..logs import engine_logger
from ..module import Module
from ..off_loop import ask
from ..sandbox import (
    CodeExecutionError,
    CodeInterpreter,
    FinalOutput,
    PythonInterpreter,
    create_interpreter,
    release,
    run_code,
    validate_interpreter,
    validate_interpreter_factory,
)
from ..signatures import InputField, OutputField, Signature, ensure_signature
from ..sync import run_sync
from .chain_of_thought import ChainOfThought
from .surroundings import told_to_model

__all__ = ["ProgramOfThought", "execute_code", "interpreter_for", "parse_code", "refuse_named_interpreter"]

logger = engine_logger("dspex.engine.program_of_thought", dspy="dspy.predict.program_of_thought")

_FENCED = re.compile(r"```python[ \n](.*?)[ \n]```?", re.DOTALL)
_ASSIGNMENT = re.compile(r"^(\w+)\s*=")


class ProgramOfThought(Module):
    """Writes code, runs it, repairs it on errors, answers.

    Attributes:
        code_generate, code_regenerate, generate_output: the steps, each a `ChainOfThought`.
    """

    def __init__(
        self,
        signature: str | type[Signature],
        max_iters: int = 3,
        interpreter_factory: Callable[[], CodeInterpreter] = PythonInterpreter,
    ) -> None:
        """Build the program.

        Args:
            max_iters: programs that are tried at most.
            interpreter_factory: makes the interpreter of a call, which shuts it down. Default: the setting of this
                name, or `PythonInterpreter`, our sandbox.

        Raises:
            TypeError: `interpreter_factory` is not a zero-argument callable.
        """
        super().__init__()
        warnings.warn(
            "ProgramOfThought is deprecated and will be removed in 3.5. RLM is the preferred replacement.",
            DeprecationWarning,
            stacklevel=3,  # the metaclass's call is between
        )
        validate_interpreter_factory(interpreter_factory)
        self.signature = signature = ensure_signature(signature)
        self.max_iters = max_iters
        self.input_fields = signature.input_fields
        self.output_fields = signature.output_fields
        self.code_generate = ChainOfThought(self._step("generate"))
        self.code_regenerate = ChainOfThought(self._step("regenerate"))
        self.generate_output = ChainOfThought(self._step("answer"))
        self._interpreter_factory = interpreter_factory

    def _step(self, mode: str) -> type[Signature]:
        code = OutputField(desc="python code that answers the question")
        fields: dict[str, Any] = dict(self.input_fields)
        if mode == "generate":
            fields["generated_code"] = code
        elif mode == "regenerate":
            fields["previous_code"] = InputField(desc="previously-generated python code that errored")
            fields["error"] = InputField(desc="error message from previously-generated python code")
            fields["generated_code"] = code
        else:
            fields["final_generated_code"] = InputField(desc="python code that answers the question")
            fields["code_output"] = InputField(desc="output of previously-generated python code")
            fields.update(self.output_fields)
        signature = Signature(fields)
        inputs, outputs = _quoted(signature.input_fields), _quoted(signature.output_fields)
        if mode == "generate":
            lines = [
                f"You will be given {inputs} and you will respond with {outputs}.",
                f"Generating executable Python code that programmatically computes the correct {outputs}.",
                "After you're done with the computation and think you have the final output, make sure to submit your "
                "output by calling the preloaded function `SUBMIT()`.",
                'You must structure your output in a dict, like {"field_a": value_a, ...}, with the correct value '
                f"mapping for the field(s): {_quoted(self.output_fields)}.",
            ]
        elif mode == "regenerate":
            lines = [
                f"You are given {inputs} due to an error in previous code.",
                "Your task is to correct the error and provide the new `generated_code`.",
            ]
        else:
            lines = [f"Given the final code {inputs}, provide the final {outputs}."]
        return signature.with_instructions("\n".join(lines))

    def forward(self, interpreter: CodeInterpreter | None = None, /, **kwargs: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(self.aforward, interpreter, **kwargs)

    async def aforward(self, interpreter: CodeInterpreter | None = None, /, **kwargs: Any) -> Prediction:
        """Run the program.

        Args:
            interpreter: one of the caller's, which stays the caller's to shut down.
            **kwargs: the signature's inputs.

        Raises:
            KeyError: an input is missing.
            RuntimeError: `max_iters` programs failed.
            CodeInterpreterError: the interpreter itself failed.
        """
        refuse_named_interpreter(kwargs, self.input_fields)
        async with interpreter_for(interpreter, self._interpreter_factory) as session:
            inputs = {name: kwargs[name] for name in self.input_fields}
            code, output, error = await self._attempt(session, self.code_generate, inputs)
            hop = 1
            while error is not None:
                logger.error("Error in code execution: %s", error)
                if hop == self.max_iters:
                    raise RuntimeError(f"Max hops reached. Failed to run ProgramOfThought: {error}")
                inputs.update(previous_code=code, error=error)
                code, output, error = await self._attempt(session, self.code_regenerate, inputs)
                hop += 1
            inputs.update(final_generated_code=code, code_output=output)
            return await ask(self.generate_output, **inputs)

    async def _attempt(
        self, session: CodeInterpreter, writer: Any, inputs: dict[str, Any]
    ) -> tuple[str, str | None, str | None]:
        code, error = parse_code(await ask(writer, **inputs))
        if error:
            return code, None, error
        return code, *(await execute_code(code, session))

    # dspy's names, for programs that override or call them.

    def _parse_code(self, code_data: Any) -> tuple[str, str | None]:
        return parse_code(code_data)


@asynccontextmanager
async def interpreter_for(
    own: CodeInterpreter | None, factory: Callable[[], CodeInterpreter]
) -> AsyncGenerator[CodeInterpreter, None]:
    """The caller's interpreter, or a new one that is shut down at the end.

    Raises:
        TypeError: `own`, or what the factory makes, is not an interpreter.
    """
    if own is not None:
        validate_interpreter(own)
        yield own
        return
    made = create_interpreter(factory)
    try:
        yield made
    finally:
        await release(made)


def refuse_named_interpreter(kwargs: dict[str, Any], input_fields: Any) -> None:
    """`interpreter=` would be taken for an input."""
    if "interpreter" in kwargs and "interpreter" not in input_fields:
        raise TypeError(
            "To use a caller-owned interpreter, pass it as the first positional argument when calling the module."
        )


def parse_code(code_data: Any) -> tuple[str, str | None]:
    """The program in the field `generated_code`, and None or what is wrong with it.

    Code ends at `---` or two blank lines. If the last line assigns a name, a line with that name is added, so that its
    value is the result.
    """
    code: str = code_data.get("generated_code", "").split("---", 1)[0].split("\n\n\n", 1)[0]
    fenced = _FENCED.search(code)
    block = fenced[1] if fenced else code
    if not block:
        return code, "Error: Empty code after parsing."
    if "\n" not in block and block.count("=") > 1:
        return code, "Error: Code format is not correct."
    if assigned := _ASSIGNMENT.match(block.split("\n")[-1].strip()):
        block += "\n" + assigned[1]
    return block, None


async def execute_code(code: str, interpreter: CodeInterpreter) -> tuple[str | None, str | None]:
    """Run `code`: its result as JSON and None, or None and the error that the model is told."""
    if not code:
        return None, "Error: Empty code before execution."
    try:
        result = await run_code(interpreter, code)
    except (CodeExecutionError, SyntaxError) as error:
        return None, told_to_model(error)
    return json.dumps(result.output if isinstance(result, FinalOutput) else result), None


def _quoted(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)
