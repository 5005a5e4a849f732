"""The program inside the local model's process: one llama.cpp server on the loopback, for as long as its parent lives.

Run by path (standard library and `xllamacpp` only), with one argument, a JSON object:

    {"parent": 4711, "path": "model.gguf", "name": "smollm2-135m", "port": 0,
     "context": 4096, "parallel": 2, "threads": 1}

When the model is loaded and the port is open it writes one line to stdout, `{"listening": "http://127.0.0.1:40123"}`,
and closes it. All else that llama.cpp has to say goes to stderr, at the level of errors: requests are not logged.

It ends when its standard input ends: the parent holds the other end, so however the parent ends, this does too. On
Linux the kernel's parent-death signal says it a second time, for the moments when Python cannot run.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_LOG_ERRORS = 1


def _await_end_of_parent() -> NoReturn:
    while os.read(0, 4096):
        pass
    os._exit(0)


def _die_with_parent(parent: int) -> threading.Thread:
    watch = threading.Thread(target=_await_end_of_parent, name="parent", daemon=True)
    watch.start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the request was made: no signal will come
            os._exit(0)
    return watch


def _serve(order: dict[str, Any]) -> tuple[str, object]:
    """Loads the model and opens the port. The server runs in native threads while the second value is referenced."""
    llama: Any = importlib.import_module("xllamacpp")  # untyped
    params: Any = llama.CommonParams()
    params.model.path = order["path"]
    params.model_alias = {order["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = order["port"]
    params.n_parallel = order["parallel"]
    params.n_ctx = order["context"] * order["parallel"]  # llama.cpp divides it among its slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order["threads"]
    params.use_jinja = True
    params.ui = False
    params.cors_origins = "localhost"  # the default, "*", lets every page in the user's browser use the model
    params.offline = True
    params.verbosity = _LOG_ERRORS
    server: Any = llama.Server(params)
    return server.listening_address, server


def main() -> NoReturn:
    order = json.loads(sys.argv[1])
    ready = os.dup(1)
    os.dup2(2, 1)  # native code may print to stdout: that line belongs to us
    watch = _die_with_parent(order["parent"])
    try:
        address, server = _serve(order)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # at once: half-made native threads have nothing to tidy
    os.write(ready, json.dumps({"listening": address}).encode() + b"\n")
    os.close(ready)
    watch.join()
    raise AssertionError(f"the watch over the parent does not return, and {server} lives until then")


if __name__ == "__main__":
    main()
