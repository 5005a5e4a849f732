"""Where the engine is not dspy, and why."""

_MORE = "the engine reads it; dspy refuses"
_CLEAR = "dspy fails by accident, with the error of the line it happened to reach; the engine refuses and says what to do"
_SILENT = "dspy drops a part of what was written and says nothing"

_PYDANTIC = "the error is pydantic's, about a model that the program never wrote"

ON_PURPOSE: dict[str, str] = {
    "signatures: the string 'a: bytes -> b: bytearray, c: complex'": _MORE,
    "signatures: the string 'a: Literal[-1] -> b'": _MORE,
    "signatures: the string 'a: object -> b'": _MORE,
    "signatures: the string 'a: type -> b'": _MORE,
    "signatures: the string 'a: list[Person] -> b: dict[str, Person]'": "dspy finds the caller's types only outermost",
    "signatures: the string 'a, a -> b'": _SILENT,
    "signatures: the string 'a -> b, b'": _SILENT,
    "signatures: the string 'copy -> json'": "a signature's fields shadow nothing in the engine, so there is no warning",
    "signatures: the string 'signature -> instructions'": "dspy cannot have fields of these names and fails by accident",
    "signatures: the string 'fields -> b'": "as above",
    "signatures: instructions of another type": _CLEAR,
    "signatures: custom dotted types": _MORE,
    "signatures: a number": _CLEAR,
    "signatures: None": _CLEAR,
    "signatures: a list": _CLEAR,
    "signatures: append no field": _CLEAR,
    "signatures: the string 'a: Optional -> b'": _PYDANTIC,
    "signatures: the string 'a: Union -> b'": _PYDANTIC,
    "signatures: equals a pydantic model": "it is not equal; dspy fails by accident",
    "signatures: edit: fields taken elsewhere": "in dspy two signatures share one field, and an edit in one shows in the other",
    "clients: an LM without a prompt": "dspy asks the model with neither prompt nor messages",
    "predict: trace": "dspy takes its own `_trace=False` for an unknown input and warns of it",
}
"""What differs at all."""

OWN_WORDS: dict[str, str] = {
    "signatures: a dict with plain pydantic fields": _CLEAR,
    "signatures: append a pydantic field": _CLEAR,
    "signatures: a class with a plain attribute": _PYDANTIC,
    "signatures: constraint on the wrong type": _PYDANTIC,
    "signatures: insert too far": "dspy names a range that is not the one it checks",
    "signatures: insert too far back": "as above",
    "signatures: with_updated_fields of nothing": "dspy says only the name",
    "programs: load without metadata": "dspy says only the missing key",
    "programs: load without an entry": "as above",
    "programs: save what JSON cannot hold": "dspy recommends a pickle",
    "programs: load of a pickle": "dspy says how to read it all the same",
    "records: subtraction": "Python's own words; they name the class's module",
}
"""What raises an error of the same builtin classes, in other words."""
