"""The files of `Embeddings`, as dspy 3.4 writes them: a directory of JSON, an array without objects, an index of faiss."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from . import approximate
from .errors import IndexUnreadable
from .vectors import numpy_for

if TYPE_CHECKING:
    from .vectors import Vectors

__all__ = ["Saved", "load", "save"]

_CONFIG = "config.json"
_ROWS = "corpus_embeddings.npy"
_INDEX = "faiss_index.bin"
_FIELDS = ("k", "normalize", "corpus", "has_faiss_index")


@dataclass(frozen=True, slots=True)
class Saved:
    """What the files hold."""

    k: int
    normalize: bool
    corpus: list[str]
    rows: Vectors
    index: Any


def save(
    path: str | os.PathLike[str], *, k: int, normalize: bool, corpus: list[str], rows: Vectors, index: Any
) -> None:
    """Write them."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    numpy = numpy_for("Embeddings.save")

    def array(file: Path) -> None:
        with file.open("wb") as out:
            numpy.save(out, rows, allow_pickle=False)

    def configuration(file: Path) -> None:
        config = {"k": k, "normalize": normalize, "corpus": corpus, "has_faiss_index": index is not None}
        file.write_text(json.dumps(config, indent=2), encoding="utf-8")

    _replace(folder / _ROWS, array)
    if index is not None:
        _replace(folder / _INDEX, lambda file: approximate.write(index, file))
    _replace(folder / _CONFIG, configuration)
    if index is None:
        (folder / _INDEX).unlink(missing_ok=True)


def _replace(file: Path, write: Callable[[Path], None]) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write(beside)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Saved:
    """Read them. Raises FileNotFoundError, ValueError, IndexUnreadable."""
    folder = Path(path)
    if not folder.exists():
        raise FileNotFoundError(f"Save directory not found: {path}")
    for file, what in ((folder / _CONFIG, "Config"), (folder / _ROWS, "Embeddings")):
        if not file.exists():
            raise FileNotFoundError(f"{what} file not found: {file}")
    config = _config(folder / _CONFIG)
    rows = _rows(folder / _ROWS)
    corpus = config["corpus"]
    if rows.ndim != 2 or rows.shape[0] != len(corpus):
        raise IndexUnreadable(
            f"{folder} holds {len(corpus)} passages and an array of shape {rows.shape}: the files do not belong together. "
            "Save the index again."
        )
    index = approximate.read(folder / _INDEX) if config["has_faiss_index"] and (folder / _INDEX).exists() else None
    return Saved(config["k"], config["normalize"], corpus, rows, index)


def _config(file: Path) -> dict[str, Any]:
    try:
        config: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IndexUnreadable(f"{file} is not JSON ({error}). Save the index again.") from error
    if not isinstance(config, dict):
        raise IndexUnreadable(f"{file} is not the configuration of an index. Save the index again.")
    read = cast("dict[str, Any]", config)
    for name in _FIELDS:
        if name not in read:
            raise ValueError(f"Invalid config: missing required field '{name}'")
    corpus = read["corpus"]
    fits = isinstance(corpus, list) and all(isinstance(each, str) for each in cast("list[object]", corpus))
    if not fits or isinstance(read["k"], bool) or not isinstance(read["k"], int):
        raise IndexUnreadable(f"{file}: `corpus` must be a list of texts and `k` a number. Save the index again.")
    return read


def _rows(file: Path) -> Vectors:
    numpy = numpy_for("Embeddings.load")
    try:
        return numpy.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise IndexUnreadable(f"{file} is not an array of numbers ({error}). Save the index again.") from error
