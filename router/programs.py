"""One program, both engines: what a team writes down once for each of its programs.

    ProgramSpec.of_signature("mood", "message -> mood: Literal['good', 'bad']")
    ProgramSpec.of_factory("qa", "shop.programs:qa", idempotent=True)    # def qa(dspy): return dspy.ChainOfThought(...)
    ProgramSpec("own", native=build_native, legacy=ImportedProgram("shop.programs:build_legacy"))

A side that is None is not there: the program then runs on the other engine only, and flags that say otherwise are
refused, with the flag to change.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from .. import engine
from ..engine import Module
from ..engine.streaming.delivery import streamable_fields
from ..legacy import ImportedProgram, SignatureProgram
from .errors import BadProgram


@final
@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program and its sides. Raises BadProgram for one that has none."""

    name: str
    native: Callable[[], Module] | None = None
    """Makes the program on our engine; called again at each restart."""
    legacy: SignatureProgram | ImportedProgram | None = None
    """The same program for the workers that run the real dspy."""
    concurrency: int = 8
    """Requests that run natively at a time; more wait."""

    def __post_init__(self) -> None:
        if not self.name:
            raise BadProgram(self.name, "a program needs a name")
        if self.native is None and self.legacy is None:
            raise BadProgram(self.name, "it has no side: give native=, legacy=, or both")
        if self.native is not None and not callable(self.native):
            raise BadProgram(self.name, f"native= is a function that makes the program, not {self.native!r}")
        if self.concurrency < 1:
            raise BadProgram(self.name, f"concurrency counts requests at a time, not {self.concurrency}")

    @classmethod
    def of_signature(
        cls,
        name: str,
        signature: str,
        *,
        module: Literal["Predict", "ChainOfThought"] = "Predict",
        instructions: str | None = None,
        state: Mapping[str, object] | None = None,
        idempotent: bool = False,
        concurrency: int = 8,
    ) -> ProgramSpec:
        """A predictor around a signature string, on both engines. ``state``: as ``program.save`` of either writes it.

        Raises what the signature is refused with, here and not at the first request.
        """

        def native() -> Module:
            made = getattr(engine, module)(engine.make_signature(signature, instructions))
            if state is not None:
                made.load_state(state)
            return made

        native()
        legacy = SignatureProgram(
            signature, module=module, instructions=instructions, state=state, idempotent=idempotent
        )
        return cls(name, native=native, legacy=legacy, concurrency=concurrency)

    @classmethod
    def of_factory(
        cls,
        name: str,
        path: str,
        *,
        state: Mapping[str, object] | None = None,
        idempotent: bool = False,
        concurrency: int = 8,
    ) -> ProgramSpec:
        """A program written once for both engines: a function that is given the `dspy`-like namespace and returns a module.

            def qa(dspy):
                return dspy.ChainOfThought("question -> answer")

        ``path`` is "package.module:function"; workers must be able to import it too (``PoolOptions.import_paths``), and the
        module must not import `dspy` itself at its top. ``state``: as ``program.save`` of either engine writes it.

        Raises BadProgram for what cannot be imported, is no such function, or makes no module; here, not at the first
        request.
        """
        legacy = ImportedProgram(path, state=state, idempotent=idempotent)
        module_name, _, attribute = path.partition(":")
        try:
            factory: Any = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise BadProgram(name, f"{path} cannot be imported ({error})") from error

        def native() -> Module:
            made: object = factory(engine)
            if not isinstance(made, Module):
                raise BadProgram(name, f"{path} gave a {type(made).__name__}, and a module of the namespace is needed")
            if state is not None:
                made.load_state(state)
            return made

        try:
            native()
        except TypeError as error:
            raise BadProgram(name, f"{path} must take one argument, the namespace ({error})") from error
        return cls(name, native=native, legacy=legacy, concurrency=concurrency)


def outputs_of(spec: ProgramSpec) -> tuple[str, ...] | None:
    """The output fields of a program that can be listened to; None: only its legacy side could say.

    Makes the program, as a start of its native side does.
    """
    if spec.native is not None:
        return streamable_fields(spec.native())
    if isinstance(spec.legacy, SignatureProgram):
        signature = engine.make_signature(spec.legacy.signature, spec.legacy.instructions)
        own = tuple(signature.output_fields)
        return own if spec.legacy.module == "Predict" else ("reasoning", *own)
    return None
