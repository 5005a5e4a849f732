"""The workers' calls to their model, made here: keys, limits, cache and connections are in one place.

A worker whose settings say ``host=True`` sends each call of its programs back over its private channel; this actor answers
it with the native client. The worker itself holds no key and opens no connection to a provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from ..engine import LM, track_usage
from ..legacy import LMCall
from ..runtime import Actor, Reason


@final
class HostLM(Actor):
    """Owns the client, and closes its connections when it stops."""

    trap_exit = True  # so that `terminate` runs

    def __init__(self, lm: LM) -> None:
        self._lm = lm

    async def terminate(self, reason: Reason) -> None:
        """Close the connections."""
        await self._lm.aclose()


async def answer(lm: LM, call: LMCall) -> Mapping[str, object]:
    """Make the call and put its outputs as a pool expects them. Raises LMError; the worker's program sees it as its LM's."""
    options: dict[str, Any] = {name: value for name, value in call.options.items() if value is not None}
    with track_usage() as usage:
        outputs = await lm.acall(messages=[dict(message) for message in call.messages], **options)
    texts = [output if isinstance(output, str) else output.get("text") for output in outputs]
    made: dict[str, object] = {"texts": texts, "model": lm.model, "usage": usage.get_total_tokens().get(lm.model, {})}
    first: Any = outputs[0] if outputs else None
    if not isinstance(first, str) and first is not None and first.get("tool_calls"):
        made["tool_calls"] = [_tool_call(each) for each in first["tool_calls"]]
    return made


def _tool_call(call: Any) -> dict[str, object]:
    function = _read(call, "function")
    return {"id": _read(call, "id"), "name": _read(function, "name"), "arguments": _read(function, "arguments")}


def _read(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
