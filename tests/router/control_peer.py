"""The other end of a control socket, as raw as it can be: bytes out, lines in."""

import json
import socket
from contextlib import suppress
from typing import Any


class Peer:
    """Connected until it is closed. Blocks: for a thread, or for who has no loop."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)
        self._lines = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # it has hung up already: `line` has why
            self.socket.sendall(data)

    def line(self) -> dict[str, Any] | None:
        """What was answered; None: the other side has hung up."""
        try:
            said = self._lines.readline()
        except ConnectionResetError:
            return None
        return json.loads(said) if said else None

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


def talk(path: str, *data: bytes) -> list[dict[str, Any] | None]:
    """Says each, and reads one line after each."""
    peer = Peer(path)
    try:
        heard: list[dict[str, Any] | None] = []
        for each in data:
            peer.send(each)
            heard.append(peer.line())
        return heard
    finally:
        peer.close()


def ask(path: str, do: str, **arguments: object) -> dict[str, Any]:
    (answer,) = talk(path, json.dumps({"v": 1, "id": 1, "do": do, **arguments}).encode() + b"\n")
    assert answer is not None
    assert answer["id"] == 1
    return answer
