"""A signature: what goes in, what comes out, and the instructions in between. A class, never an instance.

    class Grade(Signature):
        \"\"\"Grade the essay.\"\"\"

        essay: str = InputField()
        score: float = OutputField(desc="between 0 and 10", ge=0, le=10)

    Signature("question, context: list[str] -> answer: str")      # the same, as a string

Names, texts and results are those of dspy 3.4. What differs is inside: a signature is a class over a tuple of immutable
`FieldSpec`s whose pydantic model is made only when asked for (`values.py`), so building or deriving one costs
microseconds, and always the same. The
public `FieldInfo` objects are made when a program first asks for them; a program that edits them in place
(`sig.fields["q"].json_schema_extra["desc"] = ...`), as dspy allows, is understood: the specs are read back before they
are next used.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any, cast, overload

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from .declare import check_type, class_specs, entry_spec
from .errors import FieldPositionError, SignatureError, SignatureFormatError, UnknownFieldError
from .fields import FieldKind, FieldSpec
from .parse import parse_signature
from .record import Record
from .values import MODEL_API, SIGNATURE_OF, model_of

_log = logging.getLogger(__name__)


class SignatureMeta(type(pydantic.BaseModel)):
    """Makes classes of field declarations, and gives every signature class its properties."""

    _record: Record

    # Not ABCMeta's, which keep a cache for each class.
    __subclasscheck__ = type.__subclasscheck__

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        specs: tuple[FieldSpec, ...] | None = None,
        **kwargs: Any,
    ) -> SignatureMeta:
        declared = {key: value for key, value in namespace.items() if isinstance(value, FieldInfo)}
        body = {key: value for key, value in namespace.items() if key not in declared}
        # Not pydantic's: it would build a validator and a serializer, for 300 us.
        cls = type.__new__(mcs, name, bases, body, **kwargs)
        if specs is None:
            parents = [base for base in reversed(cls.__mro__[1:]) if isinstance(base, SignatureMeta)]
            inherited = {spec.name: spec for parent in parents for spec in parent.declared}
            specs = class_specs(cls, declared, inherited)
        cls._record = Record(specs)
        if cls.__doc__ is None:
            for base in bases:
                if isinstance(base, SignatureMeta) and base.__doc__:
                    cls.__doc__ = base.__doc__
        if cls.__doc__ is None:
            cls.__doc__ = _default_instructions(specs)
        return cls

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """`Signature(...)` makes a new signature class (see `make_signature`); calling any other signature makes a
        record of validated values.
        """
        if cls is Signature:
            return make_signature(*args, **kwargs)
        return cls.validator()(*args, **kwargs)

    def __instancecheck__(cls, instance: object) -> bool:
        return issubclass(getattr(type(instance), SIGNATURE_OF, object), cls)

    @property
    def __signature__(cls) -> inspect.Signature:
        return inspect.signature(make_signature) if cls is Signature else inspect.signature(cls.validator())

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "__doc__":
            cls._record.version = object()

    @property
    def version(cls) -> object:
        """An object that is replaced when fields or instructions are edited in place: what was worked out from the
        signature holds as long as this is the same.
        """
        return cls._record.current()

    @property
    def specs(cls) -> tuple[FieldSpec, ...]:
        """The fields, inputs first, as immutable records; the same tuple object until a field is edited in place."""
        return cls._record.ordered()

    @property
    def declared(cls) -> tuple[FieldSpec, ...]:
        """The same records in the order of declaration."""
        return cls._record.declared()

    @property
    def instructions(cls) -> str:
        """The docstring without its indentation. May be assigned."""
        doc = cls.__doc__ or ""
        known = cls._record.instructions
        if known[0] is not doc:
            cls._record.instructions = known = (doc, inspect.cleandoc(doc))
        return known[1]

    @instructions.setter
    def instructions(cls, instructions: str) -> None:
        cls.__doc__ = instructions

    @property
    def model_fields(cls) -> dict[str, FieldInfo]:
        """The public fields in declaration order. The dict is the caller's; the fields are the signature's own."""
        return dict(cls._record.public())

    @property
    def input_fields(cls) -> dict[str, FieldInfo]:
        """The public input fields in order."""
        return cls._public("input")

    @property
    def output_fields(cls) -> dict[str, FieldInfo]:
        """The public output fields in order."""
        return cls._public("output")

    @property
    def fields(cls) -> dict[str, FieldInfo]:
        """The public fields, inputs first."""
        infos = cls._record.public()
        return {spec.name: infos[spec.name] for spec in cls.specs}

    @property
    def signature(cls) -> str:
        """The names of the fields: `"question, context -> answer"`."""
        inputs = ", ".join(spec.name for spec in cls.specs if spec.kind == "input")
        outputs = ", ".join(spec.name for spec in cls.specs if spec.kind == "output")
        return f"{inputs} -> {outputs}"

    def _public(cls, kind: FieldKind) -> dict[str, FieldInfo]:
        infos = cls._record.public()
        return {spec.name: infos[spec.name] for spec in cls.specs if spec.kind == kind}

    def validator(cls) -> type[pydantic.BaseModel]:
        """The pydantic model of this signature's records (see `values.py`), made on first use."""
        bodies = tuple(base for base in cls.__mro__ if isinstance(base, SignatureMeta) and base is not Signature)
        return cls._record.model(lambda specs: model_of(cls, bodies, specs))

    def __repr__(cls) -> str:
        lines = [f"{name} = Field({info})" for name, info in cls.fields.items()]
        fields = "\n    ".join(lines)
        return f"{cls.__name__}({cls.signature}\n    instructions={cls.instructions!r}\n    {fields}\n)"


class Signature(pydantic.BaseModel, metaclass=SignatureMeta):
    """"""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: pydantic.GetCoreSchemaHandler) -> CoreSchema:
        return handler(cls.validator())

    @classmethod
    def with_instructions(cls, instructions: str) -> type[Signature]:
        """The same fields under other instructions."""
        return _derived(cls.specs, instructions)

    @classmethod
    def append_instructions(cls, instructions: str) -> type[Signature]:
        """The same fields; the instructions gain a blank line and `instructions`."""
        return _derived(cls.specs, f"{cls.instructions}\n\n{instructions}")

    @classmethod
    def with_updated_fields(cls, name: str, type_: Any = None, **kwargs: Any) -> type[Signature]:
        """The same signature with some options of one field, and if given its type, replaced.

        Raises:
            UnknownFieldError: there is no field `name`.
            FieldTypeError: `type_` is not a type.
        """
        specs = cls.specs
        if all(spec.name != name for spec in specs):
            have = ", ".join(f"`{spec.name}`" for spec in specs)
            raise UnknownFieldError(f"`{cls.__name__}` has no field `{name}`; it has {have}.", field=name)
        if type_ is not None:
            check_type(name, type_)
        changed = tuple(spec.updated(kwargs, type_) if spec.name == name else spec for spec in specs)
        return _derived(changed, cls.instructions)

    @classmethod
    def prepend(cls, name: str, field: Any, type_: Any = None) -> type[Signature]:
        """A new first input or output."""
        return cls.insert(0, name, field, type_)

    @classmethod
    def append(cls, name: str, field: Any, type_: Any = None) -> type[Signature]:
        """A new last input or output."""
        return cls.insert(-1, name, field, type_)

    @classmethod
    def insert(cls, index: int, name: str, field: Any, type_: Any = None) -> type[Signature]:
        """A new field at `index` among the inputs or the outputs, whichever `field` is; negative counts from behind, -1
        appends.

        The type is `type_`, else the one the field has, else `str`. A field of the same name is replaced.

        Raises:
            FieldPositionError: `index` is outside the section.
            SignatureFormatError, FieldTypeError, FieldDeclarationError: `name`, `type_` or `field` is not one.
        """
        new = entry_spec(name, field if type_ is None else (type_, field))
        inputs = [spec for spec in cls.specs if spec.kind == "input"]
        outputs = [spec for spec in cls.specs if spec.kind == "output"]
        section = inputs if new.kind == "input" else outputs
        position = index + len(section) + 1 if index < 0 else index
        if not 0 <= position <= len(section):
            raise FieldPositionError(
                f"Invalid index to insert: {index}, index must be in the range of [{-len(section) - 1}, "
                f"{len(section)}] for {new.kind} fields, but received: {index}.",
                field=name,
                index=index,
            )
        section.insert(position, new)
        return _derived(tuple({spec.name: spec for spec in (*inputs, *outputs)}.values()), cls.instructions)

    @classmethod
    def delete(cls, name: str) -> type[Signature]:
        """The signature without the field; unchanged fields if there is none of that name."""
        return _derived(tuple(spec for spec in cls.specs if spec.name != name), cls.instructions)

    @classmethod
    def equals(cls, other: object) -> bool:
        """Whether instructions, names and options of the fields are equal. Types are not compared, as in dspy."""
        if not isinstance(other, SignatureMeta) or cls.instructions != other.instructions:
            return False
        mine = {spec.name: dict(spec.extra) for spec in cls.specs}
        return mine == {spec.name: dict(spec.extra) for spec in other.specs}

    @classmethod
    def dump_state(cls) -> dict[str, Any]:
        """Instructions, and prefix and description of each field in order: dspy's format, without names or types."""
        options = [dict(spec.extra) for spec in cls.specs]
        fields = [{"prefix": each["prefix"], "description": each["desc"]} for each in options]
        return {"instructions": cls.instructions, "fields": fields}

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> type[Signature]:
        """A new signature with the saved texts. Fields are matched by position, as dspy's format demands; a state with
        more or fewer fields is taken as far as it goes, and logged.

        Raises:
            SignatureFormatError: the state lacks `instructions` or `fields`, or a field lacks `prefix` or
                `description`.
        """
        specs = cls.specs
        try:
            instructions = state["instructions"]
            saved = [{"prefix": each["prefix"], "desc": each["description"]} for each in state["fields"]]
        except KeyError as error:
            raise _StateKeyError(
                f"The saved state of signature `{cls.signature}` has no {error}: it must hold `instructions`, and "
                "`prefix` and `description` for each field.",
            ) from error
        if len(saved) != len(specs):
            _log.warning("The state has %d fields, the signature `%s` has %d.", len(saved), cls.signature, len(specs))
        changed = tuple(spec.updated(texts) for spec, texts in zip(specs, saved, strict=False))
        return _derived((*changed, *specs[len(changed) :]), instructions)


for _name, _handed_on in MODEL_API.items():
    if _name not in vars(SignatureMeta):
        setattr(Signature, _name, _handed_on)


class _StateKeyError(SignatureFormatError, KeyError):
    """dspy raises KeyError here; existing handlers keep working."""


@overload
def ensure_signature(signature: None, instructions: str | None = None) -> None: ...
@overload
def ensure_signature(signature: str | type[Signature], instructions: str | None = None) -> type[Signature]: ...
def ensure_signature(signature: Any, instructions: str | None = None) -> Any:
    """A string becomes a signature; a signature (and None) is returned as it is.

    Raises:
        SignatureError: instructions were given for something that has its own.
    """
    if signature is None:
        return None
    if isinstance(signature, str):
        return make_signature(signature, instructions)
    if instructions is not None:
        raise SignatureError("Don't specify instructions when initializing with a Signature: use with_instructions().")
    return signature


def make_signature(
    signature: str | Mapping[str, Any],
    instructions: str | None = None,
    signature_name: str = "StringSignature",
    custom_types: Mapping[str, Any] | None = None,
) -> type[Signature]:
    """A new signature class from a string, or from a dict of `name: (type, field)` or `name: field`.

    `instructions` default to a sentence that names the fields. Names of types in the string are looked up in
    `custom_types`, then in `typing`, the builtins, and the scopes of the callers.

    Raises:
        SignatureError: one of its leaves, for whatever is wrong.
    """
    if instructions is not None and not isinstance(instructions, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SignatureFormatError(f"Instructions are a text, but received: {instructions!r}.")
    if isinstance(signature, str):
        specs = parse_signature(signature, custom_types)
    elif isinstance(signature, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - not all callers are checked
        specs = tuple(entry_spec(name, declaration) for name, declaration in signature.items())
    else:
        raise SignatureFormatError(
            "A signature is made from a string such as 'question -> answer' or a dict of fields, not from "
            f"{signature!r}."
        )
    return _derived(specs, instructions, signature_name)


def _derived(specs: tuple[FieldSpec, ...], instructions: str | None, name: str = "StringSignature") -> type[Signature]:
    doc = instructions or _default_instructions(specs)  # as dspy: an empty text counts as none
    namespace = {"__doc__": doc, "__module__": __name__}
    make: Any = SignatureMeta  # to a type checker calling it is what calling a signature is
    return cast("type[Signature]", make(name, (Signature,), namespace, specs=specs))


def _default_instructions(specs: tuple[FieldSpec, ...]) -> str:
    inputs = ", ".join(f"`{spec.name}`" for spec in specs if spec.kind == "input")
    outputs = ", ".join(f"`{spec.name}`" for spec in specs if spec.kind == "output")
    return f"Given the fields {inputs}, produce the fields {outputs}."
