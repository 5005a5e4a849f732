"""`RLM`, the recursive language model: long inputs stay out of the prompt, in a Python session that the model explores.

    rlm = RLM("context, query -> answer", max_iters=10)
    pred = await rlm.acall(context=a_very_long_text, query="What is the magic number?")
    pred.answer, pred.trajectory

In each step the model writes code, sees what it prints, and goes on. The code can ask a model about parts of the input
(`llm_query`, `llm_query_batched`), call tools, build sub-agents (`import dspy`), and ends with `SUBMIT`. It runs in an
interpreter of its own for each call (`dspex.engine.sandbox`). Prompts are those of dspy 3.4.
"""

from __future__ import annotations

import base64
import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import anyio
import pydantic

from ..adapters.annotation import placeholder
from ..adapters.coerce import coercer
from ..example import Prediction
from ..lm import LMError, LMNotConfiguredError
from ..logs import engine_logger
from ..module import Module
from ..off_loop import HostFunction, ask
from ..predict import Predict
from ..sandbox import (
    SIMPLE_TYPES,
    CodeExecutionError,
    CodeInterpreter,
    FinalOutput,
    PythonInterpreter,
    release,
    resolve_interpreter_factory,
    run_code,
    start,
    validate_interpreter,
    validate_interpreter_factory,
)
from ..sandbox.facade_source import CALL_TOOL, CONSTRUCT_TOOL
from ..sandbox.repl import REPLEntry, REPLHistory, REPLVariable
from ..sandbox.serializable import SandboxSerializable, build_repl_variable
from ..settings import settings
from ..signatures import InputField, OutputField, Signature, ensure_signature
from ..sync import run_sync
from ..types import Tool
from .chain_of_thought import ChainOfThought
from .code_act import CodeAct
from .facade import FacadeInvocation, is_reserved_sandbox_name
from .program_of_thought import ProgramOfThought
from .react import ReAct
from .react_v2 import ReActV2
from .rlm_prompt import ACTION_INSTRUCTIONS, EXTRACT_INSTRUCTIONS, SUB_AGENT_INSTRUCTIONS
from .surroundings import told_to_model

__all__ = ["RLM"]

logger = engine_logger("dspex.engine.rlm", dspy="dspy.predict.rlm")

Factory = Callable[[], CodeInterpreter]

_PYTHON = frozenset({"python", "py", "python3", "py3", ""})


class RLM(Module):
    """Experimental: This class may change or be removed in a future release without warning.

    A model that programs its way through its inputs.

    Attributes:
        generate_action: the predictor that writes the next piece of code.
        extract: the predictor that answers from the history when the steps are used up.
        tools: the caller's tools, by name.
    """

    _RESERVED_SANDBOX_NAMES = frozenset({"llm_query", "llm_query_batched", "SUBMIT", "print"})
    _RESERVED_RESULT_NAMES = frozenset({"trajectory", "final_reasoning"})

    def __init__(
        self,
        signature: str | type[Signature],
        max_iters: int = 20,
        max_llm_calls: int = 50,
        max_output_chars: int = 10_000,
        verbose: bool = False,
        tools: Sequence[Callable[..., Any]] | None = None,
        sub_lm: Any = None,
        interpreter_factory: Factory = PythonInterpreter,
    ) -> None:
        """Build the program.

        Args:
            signature: what is asked; its inputs become variables of the session.
            max_iters: pieces of code at most.
            max_llm_calls: completions that the code of one call may ask for, sub-agents included.
            max_output_chars: characters of one output that the model is shown.
            verbose: log every step, at info.
            tools: functions or `Tool`s that the code may call.
            sub_lm: the LM of the code's queries and sub-agents; None: that of the settings.
            interpreter_factory: makes the interpreter of a call, which shuts it down. Default: the setting of this
                name, or `PythonInterpreter`, our sandbox.

        Raises:
            ValueError: a name of a field or tool is taken, or no name.
            TypeError: `tools` is not a list of callables, or the factory not a zero-argument callable.
        """
        super().__init__()
        validate_interpreter_factory(interpreter_factory)
        self.signature = ensure_signature(signature)
        self.max_iters = max_iters
        self.max_llm_calls = max_llm_calls
        self.max_output_chars = max_output_chars
        self.verbose = verbose
        self.sub_lm = sub_lm
        self._interpreter_factory = interpreter_factory
        self._user_tools = _named_tools(tools)
        self._check_names()
        self._initial_instructions = _instructions_of(resolve_interpreter_factory(interpreter_factory))
        self._initial_rules = _rules(self._initial_instructions, SUB_AGENT_INSTRUCTIONS)
        self._action_signature = self._build_action_signature()
        self.generate_action = Predict(self._action_signature)
        self.extract = Predict(self._build_extract_signature())

    @property
    def tools(self) -> dict[str, Tool]:
        """The caller's tools."""
        return dict(self._user_tools)

    def forward(self, *, interpreter_factory: Factory | None = None, **input_args: Any) -> Prediction:
        """`aforward` from synchronous code. Call the module itself instead."""
        return run_sync(partial(self.aforward, interpreter_factory=interpreter_factory, **input_args))

    async def aforward(self, *, interpreter_factory: Factory | None = None, **input_args: Any) -> Prediction:
        """Run the program.

        Args:
            interpreter_factory: makes the interpreter of this call.
            **input_args: the signature's inputs, all of them and no others.

        Returns:
            The signature's outputs, `trajectory` (a dict for each step) and `final_reasoning`.

        Raises:
            ValueError: inputs are missing or not declared.
            CodeInterpreterError: the interpreter failed; what the code does wrong, the model is told.
            LMError, AdapterParseError: the model failed, or its answer could not be read.
        """
        self._check_inputs(input_args)
        factory = interpreter_factory or resolve_interpreter_factory(self._interpreter_factory)
        budget = _Budget(self.max_llm_calls)
        variables = [self._variable(name, value) for name, value in input_args.items()]
        validate_interpreter_factory(factory)
        interpreter = factory()
        validate_interpreter(interpreter)
        try:
            self._hand_in_tools(interpreter, budget)
            rules = await self._install_facade(interpreter, budget, factory)
            plain = await _hand_in_values(interpreter, input_args)
            told = [variable.format() for variable in variables]
            history = REPLHistory(max_output_chars=self.max_output_chars)
            for iteration in range(self.max_iters):
                action = await ask(
                    self.generate_action,
                    signature=self._signature_for(factory, rules),
                    variables_info=told,
                    repl_history=history,
                    iteration=f"{iteration + 1}/{self.max_iters}",
                )
                if self.verbose:
                    logger.info(
                        "RLM iteration %d/%d\nReasoning: %s\nCode:\n%s",
                        iteration + 1,
                        self.max_iters,
                        action.reasoning,
                        action.code,
                    )
                outcome = await self._step(interpreter, action, plain, history)
                if isinstance(outcome, Prediction):
                    return outcome
                history = outcome
            return await self._extracted(told, history)
        finally:
            await release(interpreter)

    # -- one step ----------------------------------------------------------------------------------------------------

    async def _step(
        self, interpreter: CodeInterpreter, action: Any, values: dict[str, Any], history: REPLHistory
    ) -> Prediction | REPLHistory:
        try:
            code = _strip_code_fences(action.code)
        except SyntaxError as error:
            return history.append(reasoning=action.reasoning, code=action.code, output=f"[Error] {told_to_model(error)}")
        try:
            result = await run_code(interpreter, code, values)
        except (CodeExecutionError, SyntaxError) as error:
            return history.append(reasoning=action.reasoning, code=code, output=f"[Error] {told_to_model(error)}")
        if isinstance(result, FinalOutput):
            return self._final(result, action, code, history)
        lines = cast("list[Any]", result) if isinstance(result, list) else [result or ""]
        output = "\n".join(map(str, lines)) or "(no output - did you forget to print?)"
        if self.verbose:
            logger.info(REPLEntry.format_output(output, self.max_output_chars))
        return history.append(reasoning=action.reasoning, code=code, output=output)

    def _final(self, result: FinalOutput, action: Any, code: str, history: REPLHistory) -> Prediction | REPLHistory:
        outputs, error = self._process_final_output(result, list(self.signature.output_fields))
        if outputs is None:
            return history.append(reasoning=action.reasoning, code=code, output=error or "")
        history = history.append(reasoning=action.reasoning, code=code, output=f"FINAL: {outputs}")
        return Prediction(**outputs, trajectory=_dumped(history), final_reasoning=action.reasoning)

    def _process_final_output(
        self, result: FinalOutput, output_field_names: list[str]
    ) -> tuple[dict[str, Any] | None, str | None]:
        """The submitted outputs as values of their types, or what the model is told is wrong with them."""
        raw: Any = result.output
        if not isinstance(raw, dict):
            return None, (
                f"[Error] FINAL returned {type(raw).__name__}, expected dict with fields: {output_field_names}"
            )
        submitted = cast("dict[str, Any]", raw)
        missing = set(output_field_names) - set(submitted)
        if missing:
            return None, (
                f"[Error] Missing output fields: {sorted(missing)}. Use SUBMIT({', '.join(output_field_names)})"
            )
        outputs: dict[str, Any] = {}
        wrong: list[str] = []
        for name in output_field_names:
            annotation: Any = self.signature.output_fields[name].annotation
            try:
                outputs[name] = coercer(annotation)(submitted[name])
            except (ValueError, pydantic.ValidationError) as error:
                kind = getattr(annotation, "__name__", annotation)
                wrong.append(f"{name}: expected {kind}, got {type(submitted[name]).__name__}: {error}")
        return (None, f"[Type Error] {'; '.join(wrong)}") if wrong else (outputs, None)

    async def _extracted(self, told: list[str], history: REPLHistory) -> Prediction:
        logger.warning("RLM reached max iterations, using extract to get final output")
        made = await ask(self.extract, variables_info=told, repl_history=history)
        return Prediction(
            trajectory=_dumped(history),
            final_reasoning="Extract forced final output",
            **{name: getattr(made, name) for name in self.signature.output_fields},
        )

    # -- what the code can reach -------------------------------------------------------------------------------------

    def _hand_in_tools(self, interpreter: CodeInterpreter, budget: _Budget) -> None:
        tools = self._make_llm_tools(budget)
        for name, tool in self._user_tools.items():
            tools[name] = HostFunction(partial(_by_name, tool), like=tool.func)
        interpreter.tools.update(tools)
        typed: Any = interpreter
        if hasattr(typed, "output_fields"):
            typed.output_fields = [
                {"name": name, "type": kind.__name__} if kind in SIMPLE_TYPES else {"name": name}
                for name, kind in self._output_types()
            ]
        if hasattr(typed, "_tools_registered"):
            typed._tools_registered = False  # an interpreter of dspy's: it tells its process of new tools once

    def _output_types(self) -> list[tuple[str, Any]]:
        return [(name, field.annotation) for name, field in self.signature.output_fields.items()]

    def _make_llm_tools(self, budget: _Budget | None = None) -> dict[str, Callable[..., Any]]:
        """`llm_query` and `llm_query_batched`, on `budget` or one of their own."""
        allowed = budget or _Budget(self.max_llm_calls)

        async def query(prompt: str) -> str:
            lm: Any = self.sub_lm if self.sub_lm is not None else settings.lm
            if lm is None:
                raise LMNotConfiguredError("No LM configured. Use dspy.configure(lm=...) or pass sub_lm to RLM.")
            return _text_of(await ask(lm, prompt))

        async def llm_query(prompt: str) -> str:
            """Query the LLM with a prompt string."""
            if not prompt:
                raise ValueError("prompt cannot be empty")
            allowed.reserve(1)
            return await query(prompt)

        async def llm_query_batched(prompts: list[str]) -> list[str]:
            """Query prompts concurrently, isolating LM failures while propagating contract errors."""
            if not prompts:
                return []
            allowed.reserve(len(prompts))
            answers: list[Any] = [None] * len(prompts)

            async def one(index: int, prompt: str) -> None:
                try:
                    answers[index] = await query(prompt)
                except LMError as error:
                    answers[index] = f"[ERROR] {told_to_model(error)}"
                except Exception as error:  # raised below, when all are done
                    answers[index] = error

            async with anyio.create_task_group() as group:
                for index, prompt in enumerate(prompts):
                    group.start_soon(one, index, prompt)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

        return {"llm_query": HostFunction(llm_query), "llm_query_batched": HostFunction(llm_query_batched)}

    async def _install_facade(self, interpreter: CodeInterpreter, budget: _Budget, factory: Factory) -> str:
        """Make sub-agents possible; returns what the model is told of them, "" where the interpreter cannot have them."""
        kinds = {
            kind.__name__: kind
            for kind in (Predict, ChainOfThought, RLM, CodeAct, ProgramOfThought, ReAct, ReActV2)
        }
        facade = FacadeInvocation(kinds, self._user_tools, factory, lm=self.sub_lm, reserve=budget.reserve)
        try:
            await facade.install(interpreter)
        except (CodeExecutionError, SyntaxError) as error:
            for name in (CONSTRUCT_TOOL, CALL_TOOL):
                interpreter.tools.pop(name, None)
            logger.warning("RLM sub-agents are unavailable on %s: %s", type(interpreter).__name__, error)
            return ""
        return SUB_AGENT_INSTRUCTIONS

    def _variable(self, name: str, value: Any) -> REPLVariable:
        field = self.signature.input_fields.get(name)
        if isinstance(value, SandboxSerializable):
            return build_repl_variable(value, name, field_info=field)
        return REPLVariable.from_value(name, value, field_info=field)

    # -- checks ------------------------------------------------------------------------------------------------------

    def _check_inputs(self, given: Mapping[str, Any]) -> None:
        names = set(self.signature.input_fields)
        if unexpected := set(given) - names:
            raise ValueError(f"Unexpected inputs not declared in the signature: {sorted(unexpected)}")
        if missing := names - set(given):
            raise ValueError(f"Missing required inputs: {sorted(missing)}")

    def _check_names(self) -> None:
        def is_reserved(name: str) -> bool:
            return name in self._RESERVED_SANDBOX_NAMES or is_reserved_sandbox_name(name)

        for name in self._user_tools:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(f"Invalid tool name '{name}': must be a valid Python identifier and not a keyword")
            if is_reserved(name):
                raise ValueError(f"Tool name '{name}' conflicts with built-in sandbox function")
        inputs = set(self.signature.input_fields)
        if "interpreter_factory" in inputs:
            raise ValueError(
                "'interpreter_factory' is reserved for RLM runtime configuration, not a signature input."
            )
        if reserved := sorted(name for name in inputs if is_reserved(name)):
            raise ValueError(f"Input fields conflict with built-in sandbox functions: {reserved}")
        if shared := sorted(inputs & self._user_tools.keys()):
            raise ValueError(f"Input fields conflict with user tools: {shared}")
        if taken := sorted(set(self.signature.output_fields) & self._RESERVED_RESULT_NAMES):
            raise ValueError(f"Output fields conflict with RLM result metadata: {taken}")

    # -- signatures --------------------------------------------------------------------------------------------------

    def _build_action_signature(self) -> type[Signature]:
        outputs = [spec for spec in self.signature.specs if spec.kind == "output"]
        instructions = ACTION_INSTRUCTIONS.format(
            inputs=", ".join(f"`{name}`" for name in self.signature.input_fields),
            final_output_names=", ".join(spec.name for spec in outputs),
            output_fields="\n".join(f"- {placeholder(spec)}" for spec in outputs),
            max_llm_calls=self.max_llm_calls,
            interpreter_rules=self._initial_rules,
        )
        task = f"{self.signature.instructions}\n\n" if self.signature.instructions else ""
        return (
            Signature({}, task + instructions + _tool_docs(self._user_tools))
            .append(
                "variables_info",
                InputField(desc="Metadata about the variables available in the REPL"),
                type_=str,
            )
            .append(
                "repl_history",
                InputField(desc="Previous REPL code executions and their outputs"),
                type_=REPLHistory,
            )
            .append("iteration", InputField(desc="Current iteration number (1-indexed) out of max_iters"), type_=str)
            .append(
                "reasoning",
                OutputField(desc="Think step-by-step: what do you know? What remains? Plan your next action."),
                type_=str,
            )
            .append(
                "code",
                OutputField(
                    desc="Python code to execute. Use markdown code block format: ```python\\n<code>\\n```"
                ),
                type_=str,
            )
        )

    def _build_extract_signature(self) -> type[Signature]:
        task = ""
        if self.signature.instructions:
            task = (
                "The trajectory was generated with the following objective: \n"
                f"{self.signature.instructions}\n\n\n"
            )
        return (
            Signature({**self.signature.output_fields}, task + EXTRACT_INSTRUCTIONS)
            .prepend("repl_history", InputField(desc="Your REPL interactions so far"), type_=REPLHistory)
            .prepend(
                "variables_info",
                InputField(desc="Metadata about the variables available in the REPL"),
                type_=str,
            )
        )

    def _signature_for(self, factory: Factory, sub_agent_rules: str) -> type[Signature]:
        """The action signature with the rules of the interpreter of this call, whatever an optimizer made of the rest."""
        current: type[Signature] = getattr(self.generate_action, "signature", self._action_signature)
        instructions = _instructions_of(factory)
        if instructions == self._initial_instructions and sub_agent_rules == SUB_AGENT_INSTRUCTIONS:
            return current
        rules = _rules(instructions, sub_agent_rules)
        text = current.instructions
        if self._initial_rules and self._initial_rules in text:
            return current.with_instructions(text.replace(self._initial_rules, rules, 1))
        return current.with_instructions(text + rules) if rules else current.with_instructions(text)


class _Budget:
    """Completions that the code of one call may still ask for."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def reserve(self, count: int = 1) -> None:
        if self._used + count > self._limit:
            raise RuntimeError(
                f"LLM call limit exceeded: {self._used} + {count} > {self._limit}. Use Python code for aggregation "
                "instead of making more LLM calls."
            )
        self._used += count


def _named_tools(tools: Any) -> dict[str, Tool]:
    if isinstance(tools, dict) and tools:
        raise TypeError(
            "tools must be a list, not a dict. Change tools={'name': func} to tools=[func] (tool names are inferred from "
            "function names, or use dspy.Tool(func, name='custom_name'))"
        )
    named: dict[str, Tool] = {}
    for each in cast("Sequence[object]", tools or ()):
        if not isinstance(each, Tool) and not callable(each):
            raise TypeError(f"Tool {each!r} must be callable, got {type(each).__name__}")
        tool = each if isinstance(each, Tool) else Tool(each)
        name = str(tool.name)
        if name in named:
            raise ValueError(f"Duplicate tool name '{name}'")
        named[name] = tool
    return named


async def _by_name(tool: Tool, /, *args: Any, **kwargs: Any) -> Any:
    """Call a tool, which takes its arguments by name; those that came by position are named first."""
    if args:
        kwargs = {**dict(zip(inspect.signature(tool.func).parameters, args, strict=False)), **kwargs}
    return await tool.acall(**kwargs)


def _tool_docs(tools: Mapping[str, Tool]) -> str:
    if not tools:
        return ""
    lines = ["\nAdditional tools available (use these instead of standard library equivalents):"]
    for tool in tools.values():
        parameters = ", ".join(f"{name}: {schema.get('type', 'Any')}" for name, schema in (tool.args or {}).items())
        description = (tool.desc or "No description").replace("\n", "  ")
        lines.append(f"- `{tool.name}({parameters})` - {description}")
    return "\n".join(lines)


def _rules(execution_instructions: str, sub_agent_rules: str) -> str:
    rules = f"\nExecution environment:\n{execution_instructions}\n" if execution_instructions else ""
    return rules + sub_agent_rules


def _instructions_of(factory: Factory) -> str:
    instructions: object = getattr(factory, "execution_instructions", "")
    if not isinstance(instructions, str):
        raise TypeError("interpreter_factory.execution_instructions must be a string")
    return instructions


async def _hand_in_values(interpreter: CodeInterpreter, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Build the values that say themselves how; returns the others, which go in with each piece of code."""
    await start(interpreter)
    plain: dict[str, Any] = {}
    for name, value in inputs.items():
        if not isinstance(value, SandboxSerializable):
            plain[name] = value
            continue
        payload = cast("bytes | str", value.to_sandbox())
        raw = f"_raw_{name}"
        lines: list[str] = []
        if isinstance(payload, bytes):
            try:
                data = {raw: payload.decode()}
            except UnicodeDecodeError:
                data = {f"{raw}_base64": base64.b64encode(payload).decode("ascii")}
                lines += ["import base64", f"{raw} = base64.b64decode({raw}_base64)"]
        else:
            data = {raw: str(payload)}
        if setup := value.sandbox_setup():
            lines.append(setup)
        lines.append(value.sandbox_assignment(name, raw))
        await run_code(interpreter, "\n".join(lines), data)
    return plain


def _strip_code_fences(code: str) -> str:
    """The Python inside the first markdown fence, or all of it.

    Raises:
        SyntaxError: the fence says that it is another language.
    """
    code = code.strip()
    lines = code.splitlines()
    while len(lines) >= 2 and lines[0].strip() == "```" and lines[-1].strip() == "```":
        lines = lines[1:-1]
        code = "\n".join(lines).strip()
    if "```" not in code:
        return code
    label, newline, rest = code.partition("```")[2].partition("\n")
    if not newline:
        return code
    language = (label.split() or [""])[0].lower()
    if language not in _PYTHON:
        raise SyntaxError(
            f"Expected Python code but got ```{language} fence. Write Python code, not {language}."
        )
    return rest.partition("```")[0].strip()


def _text_of(response: Any) -> str:
    first: Any = getattr(response, "text", None)  # dspy's own Response
    if isinstance(response, list) and response:
        first = cast("list[Any]", response)[0]
        if isinstance(first, dict):
            first = cast("dict[str, Any]", first).get("text")
    elif first is None:
        raise TypeError(
            "Sub-LM must return dspy.lm15.Response or a non-empty list of text outputs, "
            f"got {type(cast('object', response)).__name__}."
        )
    if not isinstance(first, str):
        raise TypeError(f"Sub-LM response must contain text, got {type(first).__name__}.")
    return first


def _dumped(history: REPLHistory) -> list[dict[str, Any]]:
    return [entry.model_dump() for entry in history]
