"""A worker that speaks the protocol until it is asked for a program; then it does what the program's name says."""

import argparse
import json
import os
import socket
import struct
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--fd", type=int)
parser.add_argument("--incarnation")
arguments, _ = parser.parse_known_args()
sock = socket.socket(fileno=arguments.fd)


def send(**message: object) -> None:
    data = json.dumps(message).encode()
    sock.sendall(struct.pack(">I", len(data)) + data)


def receive() -> dict:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = sock.recv(count - len(data))
            if not more:
                os._exit(0)
            data += more
        return data

    (length,) = struct.unpack(">I", exactly(4))
    return json.loads(exactly(length))


mood = os.environ.get("MOOD")
if mood == "silent":
    receive()
if mood == "exits":
    print("I do not feel like it", file=sys.stderr)
    sys.exit(3)
if mood == "garbage":
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
protocol, version = (99 if mood == "future" else 2), ("2.5.43" if mood == "old" else "3.4.1")
send(op="hello", protocol=protocol, incarnation=arguments.incarnation, python="3.11", executable="x", dspy=version)
while True:
    message = receive()
    if message["op"] == "load":
        send(op="ready", incarnation=arguments.incarnation, dspy="3.4.1", load_s=0.0)
    elif message["op"] == "ping":
        if mood != "deaf":
            send(op="pong")
    elif message["op"] == "stop":
        time.sleep({"slow": 1.5, "stubborn": 600}.get(mood or "", 0))
        os._exit(0)
    elif message["op"] == "run":
        head = {"op": "result", "id": message["id"], "incarnation": message["incarnation"]}
        good = {"ok": True, "value": {"answer": 42}, "usage": {}, "timing": {"run_s": 0.0}}
        program = message["program"]
        if program == "garbage":
            sock.sendall(b"\xff" * 4096)
        elif program == "half":
            sock.sendall(struct.pack(">I", 100) + b'{"op": "resu')
            os._exit(0)
        elif program == "stale":
            send(**{**head, "incarnation": "of another time"}, **good)
            send(**{**head, "id": message["id"] + 1000}, **good)
            send(**head, **good)
        elif program == "both":
            send(**head, **{**good, "error": {"kind": "program"}})
        elif program == "neither":
            send(**head, ok=True)
        elif program == "last":
            send(**head, **good)
            os._exit(0)
        elif program == "good":
            send(**head, **good)
