"""Signatures: declared, parsed from text, derived, saved. See `signature.py`."""

from .errors import (
    DuplicateFieldError,
    FieldDeclarationError,
    FieldNameError,
    FieldPositionError,
    FieldTypeError,
    PlainAttributeError,
    SignatureError,
    SignatureFormatError,
    SignatureSyntaxError,
    UnknownFieldError,
    UnknownTypeError,
)
from .fields import FieldKind, FieldSpec, InputField, OutputField, infer_prefix
from .old_fields import OldField, OldInputField, OldOutputField
from .signature import Signature, SignatureMeta, ensure_signature, make_signature

__all__ = [
    "DuplicateFieldError",
    "FieldDeclarationError",
    "FieldKind",
    "FieldNameError",
    "FieldPositionError",
    "FieldSpec",
    "FieldTypeError",
    "InputField",
    "OldField",
    "OldInputField",
    "OldOutputField",
    "OutputField",
    "PlainAttributeError",
    "Signature",
    "SignatureError",
    "SignatureFormatError",
    "SignatureMeta",
    "SignatureSyntaxError",
    "UnknownFieldError",
    "UnknownTypeError",
    "ensure_signature",
    "infer_prefix",
    "make_signature",
]
