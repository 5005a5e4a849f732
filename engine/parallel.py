"""`Parallel`: many calls of programs, some at a time, in the order they were given.

    parallel = Parallel(num_threads=32)
    predictions = await parallel.acall([(qa, {"question": text}) for text in questions])

Programs run side by side on the event loop, each with settings of its own, as tasks inside the call: when it ends or
is cancelled, none of them is left. What has no `acall` runs in a thread. `Module.batch` is built on this.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import anyio

from .example import Example
from .logs import engine_logger
from .off_loop import ask, call_off_loop
from .own_variables import with_own_variables
from .places import PLACE, next_place
from .settings import settings
from .sync import run_sync

__all__ = ["Parallel", "ParallelExecutor"]

logger = engine_logger("dspex.engine.parallel", dspy="dspy.utils.parallelizer")

_UNSET: Any = object()


class Parallel:
    """Runs `(program, example)` pairs.

    An example may be an `Example` (its inputs are passed by name), a dict (by name), a tuple (by position), or, when
    the program is itself a `Parallel`, a list of pairs.

    Attributes:
        failed_examples, exceptions: what failed in all calls so far, when `return_failed_examples` is set.
    """

    def __init__(
        self,
        num_threads: int | None = None,
        max_errors: int | None = None,
        access_examples: bool = True,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> None:
        """Describe how to run.

        Args:
            num_threads: pairs that run at a time; None and 0: the setting of this name. (They are tasks; the name is
                dspy's.)
            max_errors: so many failures end everything; None: the setting of this name.
            access_examples: False passes an `Example` whole, as the only argument.
            return_failed_examples: return `(results, failed examples, exceptions)` instead of the results.
            provide_traceback: log failures with their tracebacks; None: the setting of this name.
            disable_progress_bar: accepted; nothing is drawn in any case.
            timeout: seconds after which one of the last pairs is started a second time; the first to end counts. 0: never.
            straggler_limit: how many "the last" are.
        """
        self.num_threads: int = num_threads or settings.num_threads
        self.max_errors: int = settings.max_errors if max_errors is None else max_errors
        self.access_examples = access_examples
        self.return_failed_examples = return_failed_examples
        self.provide_traceback = provide_traceback
        self.disable_progress_bar = disable_progress_bar
        self.timeout = timeout
        self.straggler_limit = straggler_limit
        self.error_count = 0
        self.failed_examples: list[Any] = []
        self.exceptions: list[Exception] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`acall` from synchronous code."""
        return self.forward(*args, **kwargs)

    def forward(self, exec_pairs: Sequence[tuple[Any, Any]], num_threads: int | None = None) -> Any:
        """`acall` from synchronous code."""
        return run_sync(self.acall, exec_pairs, num_threads)

    async def acall(self, exec_pairs: Sequence[tuple[Any, Any]], num_threads: int | None = None) -> Any:
        """Run the pairs.

        Returns:
            The results in the order of the pairs, None for those that failed; with `return_failed_examples` a tuple of
            these, the examples that failed, and their exceptions.

        Raises:
            Exception: `max_errors` pairs failed; the others were cancelled.
        """
        width = self.num_threads if num_threads is None else num_threads
        run = _Run(self, self.run_pair, exec_pairs, width)
        results = await run.finish()
        if not self.return_failed_examples:
            return results
        for index, error in run.failed:
            self.failed_examples.append(self.failed_item(exec_pairs[index]))
            self.exceptions.append(error)
        return results, self.failed_examples, self.exceptions

    aforward = acall

    def failed_item(self, pair: tuple[Any, Any]) -> Any:
        """What `failed_examples` holds of a pair."""
        return pair[1]

    async def run_pair(self, pair: tuple[Any, Any]) -> Any:
        """Run one pair. Raises what the program raises, and ValueError for an example of another kind."""
        program, example = pair
        if isinstance(example, Example):
            if self.access_examples:
                return await ask(program, **cast("Any", example.inputs()))
            return await ask(program, example)
        if isinstance(example, dict):
            return await ask(program, **cast("dict[str, Any]", example))
        if isinstance(example, list) and type(program).__name__ == "Parallel":
            return await ask(program, example)
        if isinstance(example, tuple):
            return await ask(program, *cast("tuple[Any, ...]", example))
        raise ValueError(
            f"Invalid example type: {type(cast('object', example))}, only supported types are Example, dict, list and tuple"
        )


class ParallelExecutor:
    """Calls one function on many items, some at a time: dspy's tool under `Parallel` and `Evaluate`.

    Attributes:
        failed_indices: positions of the items that failed.
        exceptions_map: by position, what they raised.
    """

    def __init__(
        self,
        num_threads: int | None = None,
        max_errors: int | None = None,
        disable_progress_bar: bool = False,
        provide_traceback: bool | None = None,
        compare_results: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> None:
        """Describe how to run; as for `Parallel`. `compare_results` is accepted: it is about the progress bar."""
        self.num_threads: int = num_threads or settings.num_threads
        self.max_errors: int = settings.max_errors if max_errors is None else max_errors
        self.disable_progress_bar = disable_progress_bar
        self.provide_traceback: bool | None = provide_traceback
        self.compare_results = compare_results
        self.timeout = timeout
        self.straggler_limit = straggler_limit
        self.error_count = 0
        self.failed_indices: list[int] = []
        self.exceptions_map: dict[int, Exception] = {}

    def execute(self, function: Callable[[Any], Any], data: Sequence[Any]) -> list[Any]:
        """`aexecute` from synchronous code."""
        return run_sync(self.aexecute, function, data)

    async def aexecute(self, function: Callable[[Any], Any], data: Sequence[Any]) -> list[Any]:
        """Call `function`, async or not, on every item.

        Returns:
            The results in the order of the items, None for those that failed.

        Raises:
            Exception: `max_errors` items failed; the others were cancelled.
        """
        run = _Run(self, partial(call_off_loop, function), data, self.num_threads)
        try:
            return await run.finish()
        finally:
            self.error_count += len(run.failed)
            self.failed_indices += [index for index, _ in run.failed]
            self.exceptions_map.update(run.failed)


class _Run:
    """One call of a `Parallel` or `ParallelExecutor`."""

    def __init__(
        self,
        how: Parallel | ParallelExecutor,
        call: Callable[[Any], Awaitable[Any]],
        items: Sequence[Any],
        width: int,
    ) -> None:
        self._how = how
        self._call = call
        self._items = items
        self._width = width
        self._results: list[Any] = [_UNSET] * len(items)
        self._open = len(items)
        self._started: dict[int, float] = {}
        self._copied: set[int] = set()
        self._errors = 0
        self._gave_up = False
        self._place = next_place("e")
        self.failed: list[tuple[int, Exception]] = []

    async def finish(self) -> list[Any]:
        async with anyio.create_task_group() as group:
            self._group = group
            waiting = iter(range(len(self._items)))
            for _ in range(min(self._width, len(self._items))):
                group.start_soon(self._work, waiting)
            if self._how.timeout > 0 and self._items:
                group.start_soon(self._watch)
        if self._gave_up:
            logger.warning("Execution cancelled due to errors or interruption.")
            raise Exception("Execution cancelled due to errors or interruption.")
        return [None if result is _UNSET else result for result in self._results]

    async def _work(self, waiting: Any) -> None:
        for index in waiting:
            self._started[index] = anyio.current_time()
            await with_own_variables(self._attempt(index))

    async def _attempt(self, index: int) -> None:
        if self._place is not None:
            PLACE.set(self._place.at(index))
        try:
            outcome = await self._call(self._items[index])
        except Exception as error:
            self._failed(index, error)
            return
        self._settle(index, outcome)

    def _settle(self, index: int, outcome: Any) -> None:
        if index not in self._started:
            return  # the other copy of a straggler was first
        del self._started[index]
        self._results[index] = outcome
        self._open -= 1
        if self._open == 0:
            self._group.cancel_scope.cancel()  # the watch, and stragglers whose copy was faster

    def _failed(self, index: int, error: Exception) -> None:
        item = self._items[index]
        told = self._how.provide_traceback
        if settings.provide_traceback if told is None else told:
            text = "".join(traceback.format_exception(error))
            logger.error("Error for %s: %s\n%s", item, error, text)
        else:
            logger.error("Error for %s: %s. Set `provide_traceback=True` for traceback.", item, error)
        self._errors += 1
        if self._errors >= self._how.max_errors:
            self._gave_up = True
            self._group.cancel_scope.cancel()
        if index in self._started:
            self.failed.append((index, error))
        self._settle(index, _UNSET)

    async def _watch(self) -> None:
        """Start the last few that take too long once more."""
        timeout, limit = self._how.timeout, self._how.straggler_limit
        while True:
            await anyio.sleep(min(1.0, timeout))
            if self._open > limit:
                continue
            now = anyio.current_time()
            for index, started in list(self._started.items()):
                if index not in self._copied and now - started >= timeout:
                    self._copied.add(index)
                    self._group.start_soon(partial(self._attempt, index))
