"""Signatures: declared, parsed from text, derived, saved. See `signature.py`."""

from .errors import (
    DuplicateFieldError,
    FieldDeclarationError,
    FieldPositionError,
    FieldTypeError,
    SignatureError,
    SignatureFormatError,
    SignatureSyntaxError,
    UnknownFieldError,
    UnknownTypeError,
)
from .fields import FieldKind, FieldSpec, InputField, OutputField, infer_prefix
from .signature import Signature, SignatureMeta, ensure_signature, make_signature

__all__ = [
    "DuplicateFieldError",
    "FieldDeclarationError",
    "FieldKind",
    "FieldPositionError",
    "FieldSpec",
    "FieldTypeError",
    "InputField",
    "OutputField",
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
