"""A program's call whose fields are handed over while they are written, at the pace of who takes them.

`streamify` keeps what its reader has not taken, however much that is. Here nothing is kept: each chunk of the LM's answer
goes through the listeners where it is read, and the LM's connection is not read on before the taker has returned. The
call runs in the caller's own task, so cancelling it closes the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ..example import Prediction
from ..lm import StreamChunk
from ..module import Module
from ..settings import settings
from .listener import StreamListener, find_predictor_for_stream_listeners
from .messages import StreamResponse

__all__ = ["acall_delivering", "streamable_fields"]

Take = Callable[[StreamResponse], Awaitable[None]]
"""Takes a piece of a field, and returns when there is room for the next."""


def streamable_fields(program: Module) -> tuple[str, ...]:
    """The output fields of the program's predictors that can be listened to by name alone: those that one of them has."""
    names = [name for _, predictor in program.named_predictors() for name in predictor.signature.output_fields]
    return tuple(name for name in dict.fromkeys(names) if names.count(name) == 1)


async def acall_delivering(
    program: Module, inputs: Mapping[str, object], fields: Sequence[str], take: Take
) -> Prediction:
    """`program.acall(**inputs)`, with the pieces of `fields` given to `take` on the way, in order.

    A field that arrives all at once, as from a cache, has no pieces. Raises what the program raises, and ValueError for a
    field that no predictor of the program has, or several. Cancelled: the program is.
    """
    listeners = [StreamListener(name) for name in fields]
    desk = _Desk(find_predictor_for_stream_listeners(program, listeners) if listeners else {}, take)
    with settings.context(send_stream=desk if listeners else None, stream_listeners=listeners):
        prediction = await program.acall(**inputs)
    for listener in listeners:
        last = listener.finalize()
        if last is not None:
            await take(last)
    return prediction


class _Desk:
    """Stands where a stream stands in the settings, and passes on what the listeners find."""

    def __init__(self, listeners: Mapping[int, Sequence[StreamListener]], take: Take) -> None:
        self._listeners = listeners
        self._take = take

    async def send(self, item: Any) -> None:
        """Take a chunk of an LM's. Whatever else a program sends is no field's, and is dropped."""
        if isinstance(item, StreamChunk):
            for listener in self._listeners.get(item.predict_id or 0, ()):
                piece = listener.receive(item)
                if piece is not None:
                    await self._take(piece)

    def send_nowait(self, item: Any) -> None:
        """For synchronous code, whose messages are no fields."""
