"""What a person sees: text, coloured on a terminal unless NO_COLOR is set, and bars for what takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress(quiet: bool, doing: str = "reading") -> Generator[Callable[[int, int], None] | None]:
    """A bar on stderr for long runs, if there is somebody to see it."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)

        def told(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        yield told


def console() -> Console:
    """Where text goes: coloured on a terminal unless NO_COLOR is set, and never wrapped into a file."""
    from rich.console import Console

    out = sys.stdout
    return Console(file=out, highlight=False, soft_wrap=not out.isatty(), emoji=False, markup=False)
