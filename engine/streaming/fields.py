"""Where a field begins and ends in the text of an answer, for each adapter's layout.

A reader takes the text of an answer as it comes and returns what is certainly the field's. What might still turn out to
be the mark of the next field is held back, and no more than that. The pieces are those that dspy 3.4 gives for the same
chunks, but for four things: a field whose whole mark comes within one chunk starts with that chunk and not with the
next; "[[" inside a value is text; the JSON of a value ends where the value ends, and not a few characters into the next
key; and a brace inside a JSON text holds nothing back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["ChatFieldReader", "FieldReader", "JSONFieldReader", "Piece", "XMLFieldReader"]

_MOST_HELD = 10  # chunks; a mark is never longer, so what is older is text


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of the field, and whether it is the last."""

    text: str
    last: bool


@dataclass(slots=True)
class FieldReader:
    """Base: finds the start mark; a subclass finds the end.

    Attributes:
        name: the field.
        started: the field's text has begun.
        ended: the field is complete.
        at_once: the whole field came in one chunk, which says that nothing was streamed (a cache, or a model that does
            not stream): nothing is returned then.
    """

    name: str
    started: bool = False
    ended: bool = False
    at_once: bool = False
    start: str = ""
    first: str = ""
    _before: list[str] = field(default_factory=list[str])
    _held: list[str] = field(default_factory=list[str])

    def take(self, text: str) -> Piece | None:
        """What is new of the field with this chunk, if anything."""
        if text and self._whole_field(text):
            self.at_once = self.started = self.ended = True
            return None
        if not self.started:
            rest = self._look_for_start(text)
            if rest is None:
                return None
            text = rest
        if not text:
            return None
        self._held.append(text)
        ready = None
        if not self._may_be_end("".join(self._held).strip()):
            ready = self._flushed()
        elif len(self._held) > _MOST_HELD:
            ready = self._held.pop(0)
        return self._decided(ready, text)

    def rest(self) -> Piece | None:
        """What was held back, when the answer is over."""
        if self.ended or not self.started:
            return None
        self.ended = True
        text = self._flushed() if self._held else ""
        return Piece(self._with_held_space(text), True) if text else None

    def _look_for_start(self, text: str) -> str | None:
        if not self._before and self.first not in text:
            return None
        self._before.append(text)
        seen = "".join(self._before)
        at = seen.find(self.start)
        if at >= 0:
            self.started = True
            self._before.clear()
            self._has_started()
            return seen[at + len(self.start) :].lstrip()
        tail = seen.strip()
        if not any(self.start.startswith(tail[len(tail) - length :]) for length in range(1, len(tail) + 1)):
            self._before.clear()
        return None

    def _flushed(self) -> str:
        text = self._only_field("".join(self._held))
        self._held.clear()
        return text

    def _has_started(self) -> None:
        pass

    def _whole_field(self, text: str) -> bool:
        raise NotImplementedError

    def _may_be_end(self, text: str) -> bool:
        raise NotImplementedError

    def _only_field(self, text: str) -> str:
        raise NotImplementedError

    def _decided(self, ready: str | None, text: str) -> Piece | None:
        raise NotImplementedError

    def _with_held_space(self, text: str) -> str:
        return text


@dataclass(slots=True)
class _MarkedFieldReader(FieldReader):
    """A field that ends where a mark is found. White space around the field is not its text."""

    end: re.Pattern[str] = re.compile("")
    boundary: str = ""
    prefixes: tuple[str, ...] = ()
    inside: str = ""
    _value_started: bool = False
    _space: str = ""

    def _whole_field(self, text: str) -> bool:
        at = text.find(self.start)
        return at >= 0 and self.end.search(text, at + len(self.start)) is not None

    def _may_be_end(self, text: str) -> bool:
        return text.endswith(self.prefixes) or self.inside in text

    def _only_field(self, text: str) -> str:
        at = text.find(self.boundary)
        return text if at < 0 else text[:at]

    def _decided(self, ready: str | None, text: str) -> Piece | None:
        if self.end.search("".join(self._held).strip()):
            self.ended = True
            ready = ((ready or "") + self._flushed()).rstrip()
        ready = ready or ""
        if not self._value_started:
            ready = ready.lstrip()
        words = ready.rstrip()
        if words:
            self._value_started = True
            ready, self._space = self._space + words, ready[len(words) :]
        else:
            self._space += ready
            ready = ""
        return Piece(ready, self.ended) if ready or self.ended else None

    def _with_held_space(self, text: str) -> str:
        return self._space + text


class ChatFieldReader(_MarkedFieldReader):
    """`[[ ## name ## ]]`, up to the next header."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            start=f"[[ ## {name} ## ]]",
            first="[",
            end=re.compile(r"\[\[ ## (\w+) ## \]\]"),
            boundary="[[ ##",
            prefixes=("[", "[[", "[[ ", "[[ #", "[[ ##"),
            inside="[[ ##",
        )


class XMLFieldReader(_MarkedFieldReader):
    """`<name>`, up to `</name>`."""

    __slots__ = ()

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            start=f"<{name}>",
            first="<",
            end=re.compile(rf"</{re.escape(name)}>"),
            boundary=f"</{name}>",
            prefixes=("<", "</"),
            inside="</",
        )


class JSONFieldReader(FieldReader):
    """`"name":`, up to the comma or brace after the value. The text is the JSON of the value, as it was written.

    The value is followed character by character, so that a brace in a text, or the next key, is never taken for what it
    is not.
    """

    __slots__ = ("_depth", "_escaped", "_in_text")

    def __init__(self, name: str) -> None:
        super().__init__(name, start=f'"{name}":', first='"')
        self._depth = 0
        self._in_text = False
        self._escaped = False

    def _whole_field(self, text: str) -> bool:
        if self.started or self._before:
            return False
        at = text.find(self.start)
        return at >= 0 and JSONFieldReader(self.name)._end_in(text[at + len(self.start) :]) is not None

    def _may_be_end(self, text: str) -> bool:
        # Nothing here is in doubt; a lone quotation mark only waits for what it belongs to, as in dspy.
        return text.endswith(('"', '",', '" ', '"}'))

    def _only_field(self, text: str) -> str:
        return text

    def _decided(self, ready: str | None, text: str) -> Piece | None:
        end = self._end_in(text)
        if end is not None:
            self.ended = True
            held = (ready or "") + self._flushed()
            return Piece(held[: len(held) - len(text) + end], True)
        return Piece(ready, False) if ready else None

    def _end_in(self, text: str) -> int | None:
        """Where the value ends in this text, which goes on from the last one; None when it does not."""
        for index, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_text:
                self._escaped = character == "\\"
                self._in_text = character != '"'
            elif character == '"':
                self._in_text = True
            elif character in "[{":
                self._depth += 1
            elif self._depth and character in "]}":
                self._depth -= 1
            elif not self._depth and character in ",}":
                return index
        return None
