"""Where worker processes begin: `main.py worker ...` is a worker, `main.py warden ...` the warden of many.

    python -X utf8 main.py worker --fd 5 --incarnation 3f9a --host-pid 4711 --frame-limit 33554432
    python -X utf8 main.py warden --fd 5 --host-pid 4711

First the process is made mortal, then it says hello; dspy comes later (see `serve`, `template`).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

if not __package__:
    # Started by path. The neighbours get a private package name and this folder leaves sys.path, so that no module of
    # ours can be taken for one of the user's, nor the other way round.
    _spec = importlib.util.spec_from_file_location(
        "_dspex_worker", _HERE / "__init__.py", submodule_search_locations=[str(_HERE)]
    )
    assert _spec is not None
    assert _spec.loader is not None
    _package = importlib.util.module_from_spec(_spec)
    sys.modules["_dspex_worker"] = _package
    _spec.loader.exec_module(_package)
    __package__ = "_dspex_worker"
    sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != _HERE]

from . import mortal  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("worker", "warden"))
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--host-pid", type=int, required=True)
    parser.add_argument("--incarnation", default="")
    parser.add_argument("--frame-limit", type=int, default=0)
    parser.add_argument("--lifeline", type=int)
    parser.add_argument("--import-path", action="append", default=[])
    parser.add_argument("--preload", action="append", default=[])
    parser.add_argument("--cold", action="store_true")
    arguments = parser.parse_args()
    os.set_inheritable(arguments.fd, False)
    sock = socket.socket(fileno=arguments.fd)
    if arguments.role == "warden":
        from .warden import serve_warden

        serve_warden(
            sock, arguments.host_pid, arguments.import_path, arguments.preload, warm=not arguments.cold
        )
        return
    parent = arguments.host_pid
    if sys.platform == "linux":
        from .keeper import part_from_keeper

        parent = part_from_keeper(arguments.host_pid)
    held = False
    if arguments.lifeline is not None:
        os.set_inheritable(arguments.lifeline, False)
        held = mortal.hold_lifeline(arguments.lifeline)
    if not held:
        mortal.die_with_parent(parent)
    sys.path[:0] = arguments.import_path
    from .serve import serve

    serve(sock, arguments.incarnation, arguments.frame_limit)


if __name__ == "__main__":
    main()
