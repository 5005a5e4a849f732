"""`dspex run`: an application in a process of its own, from start to drain."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Literal, cast

import anyio
import click

from ..legacy import LegacyError
from ..router import ControlUnavailable, Dspex, Engine, RouterError
from ..router.door import ROOT
from ..runtime import ActorExit, CallTimeout, Crash, Shutdown, StartFailed, TreeFailed
from ..supervisors import FailedToStart
from .control_client import socket_folder
from .ending import FOUND, Unusable
from .import_path import ImportPath

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_READY: Final = 120.0
"""Seconds that workers get to import dspy before it is said that they have not."""


@click.command()
@click.argument("app")
@click.argument("inputs", nargs=-1)
@click.option("--ask", metavar="PROGRAM", help="Ask one program with INPUTS, print its answer, and end.")
@click.option(
    "--engine", type=click.Choice(["native", "legacy"]), help="With --ask: by this engine, whatever the flags say."
)
@click.option(
    "--within", type=float, default=60.0, show_default=True, metavar="SECONDS", help="With --ask: how long at most."
)
@click.option(
    "--drain",
    type=float,
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long requests under way may take.",
)
@click.option("--socket", metavar="PATH", help="Where the control socket is, if the app does not say.")
@click.option("--no-socket", is_flag=True, help="Without control socket.")
@click.option(
    "--loop", type=click.Choice(["asyncio", "trio"]), default="asyncio", show_default=True, help="The event loop."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: what happens, or the answer of --ask.")
def run(
    app: str,
    inputs: tuple[str, ...],
    ask: str | None,
    engine: Literal["native", "legacy"] | None,
    within: float,
    drain: float,
    socket: str | None,
    no_socket: bool,
    loop: str,
    as_json: bool,
) -> None:
    """Keep the application APP open until a signal drains it.

    APP is the import path of a `Dspex` object, or of a function that makes one: shop.app:app, or shop/app.py:app. The folder
    where you stand is on the path.

    The first SIGINT or SIGTERM drains: no new requests, those under way finish (--drain seconds at most), workers end, the
    socket goes. A second one stops at once. While it runs, `dspex status` and `dspex flags` reach it through its control
    socket, which only you may open. By default that is $XDG_RUNTIME_DIR/dspex/NAME.sock, or /tmp/dspex-UID/NAME.sock.

    With --ask, one program is asked and the answer printed, fields by name. INPUTS are NAME=TEXT, or NAME:=JSON for what is
    no text.

    \b
    Exit status:
      0   drained: nothing was cut off (or --ask was answered)
      1   requests were cut off, the tree gave up, or --ask failed
      2   wrong command line, or the application could not be loaded or started

    \b
    Examples:
      dspex run shop.app:app
      dspex run shop/app.py:make_app --drain 300 --socket /run/user/1000/dspex/shop.sock
      dspex run shop.app:app --ask qa question="Why is the sky blue?"
      dspex run shop.app:app --ask rank query=shoes limit:=5 --engine legacy --json
    """
    if inputs and ask is None:
        raise click.UsageError(f"{inputs[0]!r} is an input, of which program? Give --ask PROGRAM")
    if ask is None and engine is not None:
        raise click.UsageError(
            "--engine goes with --ask; for all requests it is a flag: `dspex flags set mode.qa=legacy`"
        )
    if socket is not None and no_socket:
        raise click.UsageError("--socket and --no-socket: give one of them")
    given = _inputs(inputs)
    path = ImportPath(app)
    made = _app(path)
    if ask is not None or no_socket:
        made.control = None
    elif socket is not None or made.control is None:
        made.control = socket or _default_socket(path)
    try:
        if ask is not None:
            try:
                answer = anyio.run(_ask, made, ask, given, engine, within, backend=loop)
            except StartFailed:
                raise
            except Exception as error:  # whatever the program raises
                raise _Failed(f"{type(error).__name__}: {error}") from error
            click.echo(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else _as_text(answer))
            return
        cut_off = anyio.run(_serve, made, str(path), drain, as_json, backend=loop)
    except StartFailed as error:
        raise Unusable(f"{path} did not start: {_why(error)}") from error
    except TreeFailed as error:
        raise _Failed(f"{path} gave up: {error}") from error
    sys.exit(FOUND if cut_off else 0)


class _Failed(click.ClickException):
    exit_code = FOUND


def _inputs(texts: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.removesuffix(":"):
            raise click.UsageError(f"{text!r} is no input: write NAME=TEXT, or NAME:=JSON")
        if name.removesuffix(":") in given:
            raise click.UsageError(f"the input {name.removesuffix(':')!r} is given twice")
        if not name.endswith(":"):
            given[name] = value
            continue
        try:
            given[name.removesuffix(":")] = json.loads(value)
        except ValueError as error:
            raise click.UsageError(f"{text!r}: what follows := is no JSON ({error})") from error
    return given


def _app(path: ImportPath) -> Dspex:
    found: Any = path.load()
    if not isinstance(found, Dspex) and callable(found):
        try:
            found = found()
        except Exception as error:  # whatever making it raises
            raise Unusable(f"{path}() failed ({type(error).__name__}: {error})") from error
    if not isinstance(found, Dspex):
        raise Unusable(
            f"{path} is a {type(found).__name__}: name a dspex.Dspex, or a function without arguments that makes one"
        )
    return found


def _default_socket(path: ImportPath) -> str:
    return str(socket_folder() / f"{path.module.replace('.', '-')}.sock")


def _why(error: StartFailed) -> str:
    """The innermost reason: which child, and what it raised."""
    reason: object = error.reason
    child = ""
    while isinstance(reason, Shutdown) and isinstance(reason.detail, FailedToStart):
        child, reason = reason.detail.child, reason.detail.reason
    if isinstance(reason, Crash):
        said = reason.error
        return str(said) if isinstance(said, ControlUnavailable) else f"{child}: {type(said).__name__}: {said}"
    return f"{child}: {reason}" if child else str(error)


# --- asking ---------------------------------------------------------------------------------------------------------------


async def _ask(
    app: Dspex, program: str, inputs: Mapping[str, object], engine: Engine | None, within: float
) -> dict[str, object]:
    from ..router.comparison import plain

    async with app:
        answer = await app.call(program, inputs, within=within, engine=engine)
    fields = {name: plain(value) for name, value in answer.prediction.items()}
    route = answer.route
    told = {"engine": route.engine, "reason": route.reason, "latency_s": round(route.latency_s, 6)}
    return {"program": program, "fields": fields, "route": told}


def _as_text(answer: Mapping[str, object]) -> str:
    fields = cast("Mapping[str, object]", answer["fields"])
    route = cast("Mapping[str, object]", answer["route"])
    lines = [
        f"{click.style(name, bold=True)}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in fields.items()
    ]
    return "\n".join([*lines, click.style(f"({route['engine']}, {route['latency_s']} s: {route['reason']})", dim=True)])


# --- serving --------------------------------------------------------------------------------------------------------------


class _Tell:
    """What happens: a sentence on stderr, or a JSON object on stdout."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, event: str, text: str, **facts: object) -> None:
        if self._as_json:
            click.echo(json.dumps({"event": event, **facts}))
        else:
            click.echo(text, err=True)


async def _serve(app: Dspex, name: str, drain: float, as_json: bool) -> int:
    """Open until it is told to end. Returns how many requests were cut off."""
    tell = _Tell(as_json)
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        async with app:
            where = app.control
            reached = f", control socket {where}" if where else ""
            tell("open", f"{name} is open (process {os.getpid()}{reached})", pid=os.getpid(), socket=where)
            first = await _told_to_end(app, signals, tell)
            if first is not None:
                text = f"{first}: draining {app.under_way} requests, {drain:g} s at most; a second signal stops at once"
                tell("draining", text, signal=first, under_way=app.under_way)
            cut_off = await _drained(app, signals, drain)
    tell(
        "stopped",
        f"stopped, {cut_off} requests cut off" if cut_off else "stopped, nothing was cut off",
        cut_off=cut_off,
    )
    return cut_off


async def _told_to_end(app: Dspex, signals: AsyncIterator[signal.Signals], tell: _Tell) -> str | None:
    """The name of the signal; None: the app was ended from inside."""
    first: str | None = None
    async with anyio.create_task_group() as tasks:

        async def ended() -> None:
            root = app.runtime.whereis(ROOT)
            if root is not None:
                await root.ended()
            tasks.cancel_scope.cancel()

        tasks.start_soon(ended)
        tasks.start_soon(_tell_ready, app, tell)
        first = (await anext(signals)).name
        tasks.cancel_scope.cancel()
    return first


async def _drained(app: Dspex, signals: AsyncIterator[signal.Signals], within: float) -> int:
    """Drain, unless another signal comes first. Returns how many requests were cut off."""
    cut_off = 0
    async with anyio.create_task_group() as tasks:

        async def drain() -> None:
            nonlocal cut_off
            cut_off = await app.drain(within=within)
            tasks.cancel_scope.cancel()

        tasks.start_soon(drain)
        await anext(signals)
        cut_off = app.under_way
        tasks.cancel_scope.cancel()
    return cut_off


async def _tell_ready(app: Dspex, tell: _Tell) -> None:
    """Say when everything is up. A pool that cannot be is said too, and ends nothing: the native side serves."""
    try:
        await app.wait_ready(within=_READY)
    except (LegacyError, CallTimeout, ActorExit, RouterError) as error:
        said = f"{type(error).__name__}: {error}"
        tell("legacy_down", f"the legacy pool does not serve ({said}); the rest does", error=said)
    else:
        tell("ready", "ready")
