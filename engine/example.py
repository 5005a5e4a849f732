"""Records: `Example` (a row of data), `Prediction` (what a program answered), `Completions` (all candidates of it).

    row = Example(question="2+2?", answer="4").with_inputs("question")
    row.inputs().toDict()          # {"question": "2+2?"}
    pred.answer, pred["answer"]    # the first candidate
    pred.completions.answer        # every candidate's, as a list

All three read by attribute and by key. A field whose name is also a method (`keys`, `items`, ...) is reached by key
only. Names and results are those of dspy 3.4. Field values are `Any`: the user's signature gives them their types.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from typing import Any, Self, cast

from pydantic import BaseModel

__all__ = ["Completions", "Example", "Prediction"]


class Example:
    """A record of named fields, some of which may be marked as inputs.

    Args:
        base: a dict or an Example whose fields are copied first. From an Example of the same class the input marks
            are copied too; anything else is ignored, as in dspy.
        **kwargs: fields; they win over `base`.
    """

    def __init__(self, base: Mapping[str, Any] | Example | None = None, **kwargs: Any) -> None:
        self._store: dict[str, Any]
        self._demos: list[Any]
        self._input_keys: set[str] | None
        store: dict[str, Any] = {}
        marked: set[str] | None = None
        if base and isinstance(base, type(self)):
            store = base._store.copy()
            marked = getattr(base, "_input_keys", None)  # a Prediction has none
            marked = None if marked is None else set(marked)
        elif base and isinstance(base, dict):
            store = base.copy()
        store.update(kwargs)
        # Not by assignment: `__setattr__` decides each time whether it is a field, and every prediction is made here.
        vars(self).update(_store=store, _demos=[], _input_keys=marked)

    def __getattr__(self, key: str) -> Any:
        # Reached only when normal lookup failed. During copying and unpickling `_store` itself may not be there yet.
        if key.startswith("__") or key == "_store":
            raise AttributeError(key)
        try:
            return self._store[key]
        except KeyError:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{key}'") from None

    def __setattr__(self, key: str, value: Any) -> None:
        if key.startswith("_") or hasattr(type(self), key):
            super().__setattr__(key, value)
        else:
            self._store[key] = value

    def __getitem__(self, key: str) -> Any:
        return self._store[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._store[key] = value

    def __delitem__(self, key: str) -> None:
        del self._store[key]

    def __contains__(self, key: object) -> bool:
        return key in self._store

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._store))

    def __repr__(self) -> str:
        shown = {key: value for key, value in self._store.items() if not key.startswith("dspy_")}
        return f"Example({shown}) (input_keys={self._input_keys})"

    def __str__(self) -> str:
        return self.__repr__()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Example) and self._store == other._store

    def __hash__(self) -> int:
        return hash(frozenset(self._store.items()))

    def keys(self, include_dspy: bool = False) -> list[str]:
        """Field names; internal ones (prefix `dspy_`) only when asked for."""
        return [key for key in self._store if include_dspy or not key.startswith("dspy_")]

    def values(self, include_dspy: bool = False) -> list[Any]:
        """Field values, in the order of `keys()`."""
        return [self._store[key] for key in self.keys(include_dspy)]

    def items(self, include_dspy: bool = False) -> list[tuple[str, Any]]:
        """`(name, value)` pairs, in the order of `keys()`."""
        return [(key, self._store[key]) for key in self.keys(include_dspy)]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default`."""
        return self._store.get(key, default)

    def with_inputs(self, *keys: str) -> Self:
        """A copy in which exactly these fields are inputs; the rest are labels."""
        made = self.copy()
        made._input_keys = set(keys)
        return made

    def inputs(self) -> Self:
        """A record of the input fields only.

        Raises:
            ValueError: `with_inputs` was never called.
        """
        if self._input_keys is None:
            raise ValueError("Inputs have not been set for this example. Use `example.with_inputs()` to set them.")
        made = type(self)(base={key: value for key, value in self._store.items() if key in self._input_keys})
        made._input_keys = self._input_keys
        return made

    def labels(self) -> Self:
        """A record of the fields that are not inputs. Raises as `inputs`."""
        inputs = self.inputs().keys()
        return type(self)({key: value for key, value in self._store.items() if key not in inputs})

    def copy(self, **kwargs: Any) -> Self:
        """A shallow copy with some fields changed or added."""
        return type(self)(base=self, **kwargs)

    def without(self, *keys: str) -> Self:
        """A copy without these fields.

        Raises:
            KeyError: a field is not there.
        """
        made = self.copy()
        for key in keys:
            del made[key]
        return made

    def toDict(self) -> dict[str, Any]:  # dspy's name
        """A plain dict; records, pydantic models, lists and dicts inside become plain too."""
        return {key: _plain(value) for key, value in self._store.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "toDict"):
        return value.toDict()
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[Any, Any]", value).items()}
    return value


class Prediction(Example):
    """A program's answer. With a `score` field it adds, divides, compares and converts to float by that score."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._completions: Completions | None
        self._lm_usage: dict[str, dict[str, Any]] | None
        own = vars(self)
        del own["_demos"], own["_input_keys"]
        own.update(_completions=None, _lm_usage=None)

    @classmethod
    def from_completions(
        cls, list_or_dict: Sequence[Mapping[str, Any]] | dict[str, list[Any]], signature: Any = None
    ) -> Self:
        """A prediction whose fields are those of the first candidate.

        Args:
            list_or_dict: one mapping per candidate, or one list per field.
            signature: kept on `completions.signature`.
        """
        # A predictor makes one at each call; only a subclass may have anything to do in its constructor.
        made = cast("Self", Prediction.__new__(Prediction)) if cls is Prediction else cls()
        completions = Completions(list_or_dict, signature=signature)
        vars(made).update(
            _completions=completions,
            _lm_usage=None,
            _store={key: values[0] for key, values in completions._completions.items()},  # pyright: ignore[reportPrivateUsage]
        )
        return made

    @property
    def completions(self) -> Completions | None:
        """Every candidate, or None when the prediction was not made from candidates."""
        return self._completions

    def get_lm_usage(self) -> dict[str, dict[str, Any]] | None:
        """Token counts by LM name, when `track_usage` was on; else None."""
        return self._lm_usage

    def set_lm_usage(self, value: dict[str, dict[str, Any]] | None) -> None:
        """Attach token counts. Called by `Module`."""
        self._lm_usage = value

    def __repr__(self) -> str:
        shown = ",\n    ".join(f"{key}={value!r}" for key, value in self._store.items())
        if self._completions is None or len(self._completions) == 1:
            return f"Prediction(\n    {shown}\n)"
        omitted = len(self._completions) - 1
        return f"Prediction(\n    {shown},\n    completions=Completions(...)\n) ({omitted} completions omitted)"

    def __float__(self) -> float:
        if "score" not in self._store:
            raise ValueError("Prediction object does not have a 'score' field to convert to float.")
        return float(self._store["score"])

    def __add__(self, other: Prediction | float) -> float:
        return float(self) + _number(other, "addition")

    def __radd__(self, other: Prediction | float) -> float:
        return _number(other, "addition") + float(self)

    def __truediv__(self, other: Prediction | float) -> float:
        return float(self) / _number(other, "division")

    def __rtruediv__(self, other: Prediction | float) -> float:
        return _number(other, "division") / float(self)

    def __lt__(self, other: Prediction | float) -> bool:
        return float(self) < _number(other, "comparison")

    def __le__(self, other: Prediction | float) -> bool:
        return float(self) <= _number(other, "comparison")

    def __gt__(self, other: Prediction | float) -> bool:
        return float(self) > _number(other, "comparison")

    def __ge__(self, other: Prediction | float) -> bool:
        return float(self) >= _number(other, "comparison")


def _number(other: object, operation: str) -> float:
    if isinstance(other, float | int | Prediction):
        return float(other)
    raise TypeError(f"Unsupported type for {operation}: {type(other)}")


class Completions:
    """The candidates of one prediction: by field (`c.answer`, `c["answer"]`: lists) or by number (`c[1]`: Prediction).

    Raises:
        AssertionError: the fields are not lists of one length (dspy's error class).
    """

    def __init__(self, list_or_dict: Sequence[Mapping[str, Any]] | dict[str, list[Any]], signature: Any = None) -> None:
        self.signature = signature
        columns: dict[str, list[Any]]
        if isinstance(list_or_dict, list):
            columns = {}
            for row in list_or_dict:
                for key, value in row.items():
                    columns.setdefault(key, []).append(value)
            if len(list_or_dict) == 1:
                self._completions = columns  # nothing to compare
                return
        else:
            columns = cast("dict[str, list[Any]]", list_or_dict)
        if not all(isinstance(values, list) for values in columns.values()):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise AssertionError("All values must be lists")
        if len({len(values) for values in columns.values()}) > 1:
            raise AssertionError("All lists must have the same length")
        self._completions = columns

    def items(self) -> ItemsView[str, list[Any]]:
        """`(field, values)` pairs."""
        return self._completions.items()

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            if key < 0 or key >= len(self):
                raise IndexError("Index out of range")
            return Prediction(**{name: values[key] for name, values in self._completions.items()})
        return self._completions[key]

    def __getattr__(self, name: str) -> Any:
        if name != "_completions" and name in self._completions:
            return self._completions[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __len__(self) -> int:
        return len(next(iter(self._completions.values())))

    def __contains__(self, key: object) -> bool:
        return key in self._completions

    def __repr__(self) -> str:
        shown = ",\n    ".join(f"{key}={values!r}" for key, values in self._completions.items())
        return f"Completions(\n    {shown}\n)"
