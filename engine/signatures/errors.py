"""What can be wrong with a signature: one small tree, every leaf names the field and the fix.

    SignatureError (ValueError)
    ├── SignatureFormatError      the string, dict or state does not describe a signature
    │   └── FieldNameError        (also NameError, RuntimeError) a field cannot have this name
    ├── SignatureSyntaxError      (also SyntaxError) a side of the arrow is not a list of fields
    ├── DuplicateFieldError       one name, two fields
    ├── FieldDeclarationError     (also TypeError) a field is declared, but not as an input or output field
    │   └── PlainAttributeError   (also RuntimeError) a class body holds a value that is neither field nor ClassVar
    ├── FieldTypeError            the annotation of a field is not a type
    │   └── UnknownTypeError      the annotation names something that nobody can find
    ├── FieldPositionError        an insert index outside the section
    └── UnknownFieldError         (also KeyError) a field that the signature does not have

Everything is a `ValueError`, as in dspy, so existing handlers keep working; where dspy raises another class, the error
is both.
"""

from __future__ import annotations


class SignatureError(ValueError):
    """A signature cannot be built or changed as asked. `field` is the field concerned, if there is one."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


class SignatureFormatError(SignatureError):
    """The description as a whole is not a signature (no arrow, a value of the wrong kind, a broken state)."""


class FieldNameError(SignatureFormatError, NameError, RuntimeError):
    """A field cannot have this name. pydantic has said so as a NameError and as a RuntimeError."""


class SignatureSyntaxError(SignatureError, SyntaxError):
    """One side of the arrow is not a comma-separated list of `name` or `name: type`."""


class DuplicateFieldError(SignatureError):
    """Two fields share a name."""


class FieldDeclarationError(SignatureError, TypeError):
    """A class attribute looks like a field but is not declared with `InputField` or `OutputField`."""


class PlainAttributeError(FieldDeclarationError, RuntimeError):
    """A class body holds a value that is neither a field nor annotated as a ClassVar."""


class FieldTypeError(SignatureError):
    """The annotation of a field is not a type. `type_text` is what was written."""

    def __init__(self, message: str, *, field: str | None = None, type_text: str = "") -> None:
        super().__init__(message, field=field)
        self.type_text = type_text


class UnknownTypeError(FieldTypeError):
    """The annotation of a field uses a name that is in none of the places where names are looked up."""


class FieldPositionError(SignatureError):
    """An index for `insert` lies outside the section of the field. `index` is the index as given."""

    def __init__(self, message: str, *, field: str | None = None, index: int = 0) -> None:
        super().__init__(message, field=field)
        self.index = index


class UnknownFieldError(SignatureError, KeyError):
    """The signature has no field of that name."""
