"""The processes a scenario is made of: gen_servers, plain processes, supervisors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import anyio
from dspex.runtime import Exit, Ignore, Mailbox, Plain, Process, Ref, Reply, Runtime, Startable, Stop
from dspex.supervisors import BadChildSpec, Child, DynamicSupervisor, Restart, Supervisor
from otp_commands import Body, Command, GenServer
from otp_scene import Scene
from otp_terms import ErlangError, NoCatch

Spec = dict[str, Any]


def applies(when: Any, incarnation: int) -> bool:
    """``fail_on`` and ``ignore_on``: a list of incarnations, or all."""
    return when == "all" or (isinstance(when, list) and incarnation in when)


async def begin(scene: Scene, label: str, spec: Spec, parent: str) -> None:
    """The first part of an init: it fails, asks to be ignored, or goes on."""
    init = spec.get("init", {})
    incarnation = scene.incarnation(label)
    if applies(init.get("fail_on"), incarnation):
        if "fail_sleep" in init:
            await scene.sleep(init["fail_sleep"])
        reason = scene.decode(init.get("reason", "init_failed"))
        if init.get("how") == "error":
            error = ErlangError(reason)
            scene.stillborn("initfail", label, (reason, "$stack"), parent)
            raise error
        scene.stillborn("initfail", label, reason, parent)
        raise Exit(reason)
    if applies(init.get("ignore_on"), incarnation):
        scene.stillborn("ignore", label, parent)
        raise Ignore
    scene.record("start", label, parent)
    if "sleep" in init:
        await scene.sleep(init["sleep"])
    if init.get("block"):
        await anyio.sleep_forever()


# --- gen_server -----------------------------------------------------------------------------------------------------


@dataclass
class LateReply:
    """A server's message to itself: now answer."""

    reply: Reply
    value: Any


class GsBody(Body):
    """Commands in a callback of a gen_server."""

    me: Gs

    def thrown(self, value: object) -> Exception:
        # A thrown value is the callback's return value, and never a good one.
        return Stop(("bad_return_value", value))

    async def control(self, what: str, args: list[Any]) -> Any:
        me = self.me
        match what, *args:
            case ["stop", reason]:
                raise Stop(self.scene.decode(reason))
            case ["stop_reply", reason, value]:
                me.stop(self.scene.decode(reason))
                return value
            case ["noreply"]:
                me.defer()
                return None
            case ["noreply_timeout", ms]:
                me.defer()
                me.idle_after(ms / 1000)
                return None
            case ["reply_timeout", value, ms]:
                me.idle_after(ms / 1000)
                return value
            case ["reply_continue", value, what_next]:
                me.continue_with(Gs.cont, what_next)
                return value
            case ["reply_after", ms, value]:
                me.send_after(ms / 1000, me.ref, LateReply(me.defer(), value))
                return None
            case ["reply_early", value, command]:
                me.defer().send(value)
                return await self.run(command)
            case ["bad_return"]:
                raise Stop(("bad_return_value", "garbage"))
            case ["set", value]:
                me.state = value
                return "ok"
            case ["get"]:
                return me.state
            case ["hibernate"]:
                return "ok"
        raise NotImplementedError(what)


class Gs(GenServer):
    """A gen_server of the scenario."""

    def __init__(self, scene: Scene, name: str, spec: Spec, parent: str, starter: Ref[Any]) -> None:
        self.scene = scene
        self.name = name
        self.spec = spec
        self.parent = parent
        self.starter = starter
        self.state: Any = "undefined"

    def __start__(self, runtime: Runtime, parent: Process, name: str | None) -> Any:
        return super().__start__(runtime, parent, name or self.spec.get("reg"))

    async def init(self) -> None:
        self.trap_exits(self.spec.get("trap", False))
        self.label = self.scene.born(self.name, self.ref, "gs")
        self.body = GsBody(self.scene, self, self.label, self.starter)
        await begin(self.scene, self.label, self.spec, self.parent)
        init = self.spec.get("init", {})
        if "cont" in init:
            self.continue_with(Gs.cont, init["cont"])
        if "timeout" in init:
            self.idle_after(init["timeout"] / 1000)

    async def terminate(self, reason: object) -> None:
        self.scene.record("term", self.label, reason)
        match self.spec.get("term", "ok"):
            case {"sleep": ms}:
                await self.scene.sleep(ms)
            case "hang":
                await self.scene.hang()
            case "block":
                await anyio.sleep_forever()
            case {"exit": other}:
                raise Exit(self.scene.decode(other))
            case {"error": other}:
                raise ErlangError(self.scene.decode(other))

    async def command(self, command: list[Any]) -> Any:
        return await self.body.run(command)

    async def ask(self, message: Any) -> Any:
        self.scene.message("call", self.label, message)
        return {"t": ["ok", message]}

    async def tell(self, message: Any) -> None:
        self.scene.message("cast", self.label, message)

    def cont(self, what: Any) -> None:
        self.scene.message("cont", self.label, what)

    async def handle_info(self, message: object) -> None:
        match message:
            case Command(command=command):
                await self.body.run(command)
            case LateReply(reply=reply, value=value):
                reply.send(value)
            case _:
                self.scene.message("msg", self.label, message)


# --- plain processes ------------------------------------------------------------------------------------------------


@dataclass
class Request:
    """Asks a plain process to run a command."""

    command: list[Any]
    sender: Ref[Any]


@dataclass
class Answer:
    """To the one who asked."""

    request: Request
    value: Any


class RawBody(Body):
    """Commands in a plain process."""

    def thrown(self, value: object) -> Exception:
        return NoCatch(value)


async def serve(me: Mailbox, body: Body) -> None:
    """The receive loop of a plain process."""
    while True:
        message = await me.receive()
        if isinstance(message, Request):
            message.sender.send(Answer(message, await body.run(message.command)))
        elif isinstance(message, Command):
            await body.run(message.command)
        else:
            body.scene.message("msg", body.label, message)


async def raw(me: Mailbox, scene: Scene, name: str, starter: Ref[Any], run: list[Any] | None) -> None:
    """A spawned process. Whoever spawned it has named it, and recorded its start."""
    label = scene.known(me.ref)
    assert label is not None
    body = RawBody(scene, me, label, starter)
    if run is not None:
        await body.run(run, catch=False)
    await serve(me, body)


async def raw_child(me: Mailbox, scene: Scene, name: str, spec: Spec, parent: str, starter: Ref[Any]) -> None:
    """A plain process under a supervisor, with a start handshake."""
    label = scene.born(name, me.ref, "raw")
    await begin(scene, label, spec, parent)
    me.started()
    await serve(me, RawBody(scene, me, label, starter))


# --- supervisors ----------------------------------------------------------------------------------------------------


class TracedSupervisor(Supervisor):
    """A supervisor that tells of its start."""

    def __init__(self, scene: Scene, spec: Spec, parent: str) -> None:
        self.scene = scene
        self.spec = spec
        self.parent = parent
        self.label = "?"
        # One after another, after the flags: the first that is wrong is the one OTP names.
        children = (child(scene, one, self) for one in spec.get("children", []))
        strategy = spec.get("strategy", "one_for_one")
        super().__init__(children, strategy=strategy, **flags(spec))

    async def init(self) -> None:
        self.label = self.scene.born(self.spec["id"], self.ref, "sup")
        await begin(self.scene, self.label, self.spec, self.parent)
        try:
            await super().init()
        except Exit as failed:
            self.scene.stillborn("initfail", self.label, failed.reason, self.parent)
            raise


class TracedDynamic(DynamicSupervisor):
    """The same, of dynamic children."""

    def __init__(self, scene: Scene, spec: Spec, parent: str) -> None:
        Supervisor(**flags(spec))  # wrong flags are named before a wrong template
        templates = spec.get("children", [])
        if len(templates) != 1:
            raise BadChildSpec("template", templates, "this kind of supervisor has exactly one template")
        self.scene = scene
        self.spec = spec
        self.parent = parent
        self.label = "?"
        self._base = templates[0]
        super().__init__(self._make, id=self._base["id"], **options(self._base, spec), **flags(spec))

    def _make(self, name: str, changes: Spec) -> Startable:
        return worker(self.scene, {**self._base, **changes, "id": name}, self)

    async def init(self) -> None:
        self.label = self.scene.born(self.spec["id"], self.ref, "dynamic")
        await begin(self.scene, self.label, self.spec, self.parent)


AnySupervisor = TracedSupervisor | TracedDynamic


def flags(spec: Spec) -> dict[str, Any]:
    given = {"intensity": spec.get("intensity", 1), "period": spec.get("period_s", 5)}
    return {**given, "auto_shutdown": spec.get("auto_shutdown", "never")}


def options(spec: Spec, above: Spec) -> dict[str, Any]:
    """What ``Child`` and ``DynamicSupervisor`` both take of a child spec; ``above``: its supervisor's. Raises BadChildSpec."""
    supervisor = spec.get("kind") == "sup"
    if (
        spec.get("significant") is True
        and above.get("auto_shutdown", "never") == "never"
        and spec.get("restart", "permanent") in get_args(Restart)
    ):
        # Of two rules that are broken at once, OTP names this one; here a spec alone can break the other.
        raise BadChildSpec("significant", ("auto_shutdown", "never"), "significant without auto_shutdown")
    shutdown = spec.get("shutdown")
    return {
        "restart": spec.get("restart", "permanent"),
        "shutdown": shutdown / 1000 if isinstance(shutdown, int | float) else shutdown,
        "type": spec.get("type", "supervisor" if supervisor else "worker"),
        "significant": spec.get("significant", False),
    }


def child(scene: Scene, spec: Spec, supervisor: AnySupervisor) -> Child:
    """A child spec. Raises BadChildSpec."""

    def start() -> Startable:
        if spec.get("kind") == "sup":
            return make_supervisor(scene, spec, supervisor.label)
        return worker(scene, spec, supervisor)

    return Child(spec["id"], start, name=spec.get("reg"), **options(spec, supervisor.spec))


def worker(scene: Scene, spec: Spec, supervisor: AnySupervisor) -> Startable:
    """A new process for one start of a child."""
    if spec.get("kind", "gs") == "raw":
        trap = spec.get("trap", False)
        starter = supervisor.ref
        return Plain(raw_child, scene, spec["id"], spec, supervisor.label, starter, handshake=True, trap_exit=trap)
    return Gs(scene, spec["id"], spec, supervisor.label, supervisor.ref)


def make_supervisor(scene: Scene, spec: Spec, parent: str) -> AnySupervisor:
    """A new supervisor. Raises BadChildSpec, and tells what OTP tells then."""
    kind = TracedDynamic if spec.get("strategy") == "simple_one_for_one" else TracedSupervisor
    try:
        return kind(scene, spec, parent)
    except BadChildSpec as error:
        scene.unborn(spec["id"], error, parent)
        raise
