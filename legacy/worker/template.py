"""The template: a process that has imported dspy, paid what a first call costs, and does nothing but fork.

It has one thread, no event loop, no language model client and no socket but the one to the warden, and says so in `ready`
(`threads`): a process with more cannot be forked safely, and the host then starts workers one by one. A worker is a
grandchild: the process in between ends at once, so that the worker becomes a child of the warden.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from . import control, mortal
from .programs import import_dspy, printable, traceback_of
from .serve import installed_dspy, leave, serve
from .wire import PROTOCOL_VERSION


def serve_template(warden: socket.socket, import_paths: Sequence[str], preload: Sequence[str], warm: bool) -> NoReturn:
    """The life of the process, from the warden's fork on."""
    try:
        mortal.show_as("dspex-template")
        sys.path[:0] = import_paths
        control.send(
            warden,
            {
                "op": "hello",
                "protocol": PROTOCOL_VERSION,
                "pid": os.getpid(),
                "python": ".".join(map(str, sys.version_info[:3])),
                "executable": sys.executable,
                "dspy": installed_dspy(),
            },
        )
        _load(warden, preload, warm=warm)
        while (received := control.receive(warden)) is not None:
            _fork(warden, *received)
    except OSError:
        pass  # no warden, no template
    leave(mortal.EXIT_HOST_GONE)


def _load(warden: socket.socket, preload: Sequence[str], *, warm: bool) -> None:
    began = time.perf_counter()
    try:
        dspy = import_dspy()
        loaded = time.perf_counter()
        for name in preload:
            importlib.import_module(name)
        if warm:
            _warm(dspy)
    except BaseException as error:
        failed = {"missing": isinstance(error, ImportError), "message": printable(str(error))[:2000]}
        control.send(warden, {"op": "failed", **failed, "traceback": traceback_of(error)})
        leave(mortal.EXIT_NOT_LOADED)
    gc.collect()
    gc.freeze()  # the collector would otherwise write to every object's header and so copy every page in every worker
    control.send(
        warden,
        {
            "op": "ready",
            "dspy": str(dspy.__version__),
            "load_s": loaded - began,
            "warm_s": time.perf_counter() - loaded,
            "threads": _threads(),
        },
    )


def _warm(dspy: Any) -> None:
    """Runs one prediction through dspy's own code, with a language model that is a list of texts.

    What it costs the first time (type adapters, regular expressions, late imports: 20 to 200 ms) is then paid for all
    workers. Nothing of it is kept, and a dspy in which it does not work is none the worse.
    """
    try:
        dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
        stub_module = importlib.import_module("dspy.utils.dummies")
        stub: Any = stub_module.DummyLM([{"reasoning": "r", "answer": "a"}] * 4)
        with dspy.context(lm=stub, track_usage=True, trace=[]):
            dspy.ChainOfThought("question -> answer")(question="q")
            dspy.Predict("question -> answer")(question="q")
        _import_client(dspy)
    except Exception as error:
        print(f"warming dspy up stopped short, the first request pays the rest: {error!r:.300}", file=sys.stderr)


def _import_client(dspy: Any) -> None:
    if "engine" not in inspect.signature(dspy.LM.__init__).parameters:
        return  # before dspy 3.4 a client means litellm, whose import may start threads: each worker pays it
    dspy.LM("openai/warm", engine="lm15", api_base="http://127.0.0.1:1/v1", api_key="-", num_retries=0)  # calls nothing
    for name in ("dspy.clients.call_result", "dspy.clients.execution", "dspy.clients.engines.streaming"):
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name)


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()


def _fork(warden: socket.socket, order: dict[str, Any], fds: list[int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        worker = os.fork()
        if worker == 0:
            os.close(reading)
            os.close(writing)
            warden.close()
            _become_worker(order, fds)
        os.write(writing, b"%d" % worker)
        os._exit(0)
    os.close(writing)
    for fd in fds:
        os.close(fd)
    os.waitpid(between, 0)
    pid = int(os.read(reading, 20))
    os.close(reading)
    control.send(warden, {"op": "born", "id": order["id"], "pid": pid})


def _become_worker(order: dict[str, Any], fds: list[int]) -> NoReturn:
    try:
        channel, output, lifeline = fds
        os.setsid()
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        mortal.hold_lifeline(lifeline)
        mortal.show_as("dspex-worker")
        if "numpy" in sys.modules:  # the standard library's generator re-seeds itself after a fork, numpy's does not
            sys.modules["numpy"].random.seed()
        serve(socket.socket(fileno=channel), order["incarnation"], order["frame_limit"])
    except BaseException as error:
        print(traceback_of(error), file=sys.stderr)
    leave(mortal.EXIT_PROTOCOL)
