"""One program, both engines: what a team writes down once for each of its programs.

    ProgramSpec.of_signature("mood", "message -> mood: Literal['good', 'bad']")
    ProgramSpec.of_factory("qa", "shop.programs:qa", idempotent=True)    # def qa(dspy): return dspy.ChainOfThought(...)
    ProgramSpec.of_module("faq", "shop.faq:build")                       # shop/faq.py says `import dspy`
    ProgramSpec.of_saved("tuned", "tuned.json", signature="question -> answer", module="ChainOfThought")
    ProgramSpec("own", native=build_native, legacy=ImportedProgram("shop.programs:build_legacy"))

A side that is None is not there: the program then runs on the other engine only, and flags that say otherwise are
refused, with the flag to change. ``typed_program`` and ``TypedProgram`` say the types of inputs and outputs too.

In all of them: ``state`` is as ``program.save`` of either engine writes it. ``idempotent``: running it twice does no harm, so
a request whose worker crashed is given to another. ``concurrency``: requests that run natively at a time; more wait. What is
wrong is raised here, and not at the first request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from .. import engine
from ..engine import Module
from ..engine.streaming.delivery import streamable_fields
from ..legacy import ImportedProgram, SignatureProgram
from . import native_sides
from .errors import BadProgram
from .fitting import read_state
from .native_sides import Kind


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
        module: Kind = "Predict",
        instructions: str | None = None,
        state: Mapping[str, object] | None = None,
        idempotent: bool = False,
        concurrency: int = 8,
    ) -> ProgramSpec:
        """A predictor around a signature string, on both engines.

        Raises BadProgram, and what the signature is refused with.
        """
        return cls(
            name,
            native=native_sides.of_signature(name, signature, module, instructions, state),
            legacy=SignatureProgram(
                signature, module=module, instructions=instructions, state=state, idempotent=idempotent
            ),
            concurrency=concurrency,
        )

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
        module must not import `dspy` itself at its top (``of_module`` is for those that do).

        Raises BadProgram for what cannot be imported, is no such function, or makes no module.
        """
        legacy = _imported(name, path, state, idempotent)
        return cls(name, native=native_sides.of_factory(name, path, state), legacy=legacy, concurrency=concurrency)

    @classmethod
    def of_module(
        cls,
        name: str,
        path: str,
        *,
        state: Mapping[str, object] | None = None,
        idempotent: bool = False,
        concurrency: int = 8,
    ) -> ProgramSpec:
        """A program as it stands, in a module that says `import dspy`: nothing of it is changed.

        ``path`` is "package.module:name", of a program or of what makes one without arguments. Workers import it as it is;
        natively it is run as a copy in which `dspy` is our engine (``native_copies``), so that the real dspy is neither
        needed for it nor replaced for anybody else. Modules that it imports, and that say `import dspy` too, are copied
        with it.

        Raises BadProgram for what cannot be imported on our engine, with what it lacks, or makes no module.
        """
        legacy = _imported(name, path, state, idempotent)
        return cls(name, native=native_sides.of_module(name, path, state), legacy=legacy, concurrency=concurrency)

    @classmethod
    def of_saved(
        cls,
        name: str,
        path: str | os.PathLike[str],
        *,
        signature: str | None = None,
        module: Kind = "Predict",
        instructions: str | None = None,
        factory: str | None = None,
        imported: str | None = None,
        idempotent: bool = False,
        concurrency: int = 8,
    ) -> ProgramSpec:
        """A program with the state that ``program.save("x.json")`` of either engine wrote to ``path``.

        What the state is loaded into is said by one of ``signature`` (with ``module`` and ``instructions``, as in
        ``of_signature``), ``factory`` (as ``path`` in ``of_factory``) and ``imported`` (as in ``of_module``).

        Raises BadProgram for a file that is none, and for a state of another program, naming all that does not fit.
        """
        state = read_state(name, path)
        if [signature, factory, imported].count(None) != 2:
            raise BadProgram(name, "a saved state needs one of signature=, factory= and imported= to be loaded into")
        if factory is not None:
            return cls.of_factory(name, factory, state=state, idempotent=idempotent, concurrency=concurrency)
        if imported is not None:
            return cls.of_module(name, imported, state=state, idempotent=idempotent, concurrency=concurrency)
        assert signature is not None
        return cls.of_signature(
            name,
            signature,
            module=module,
            instructions=instructions,
            state=state,
            idempotent=idempotent,
            concurrency=concurrency,
        )


def _imported(name: str, path: str, state: Mapping[str, object] | None, idempotent: bool) -> ImportedProgram:
    try:
        return ImportedProgram(path, state=state, idempotent=idempotent)
    except ValueError as error:
        raise BadProgram(name, str(error)) from error


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
