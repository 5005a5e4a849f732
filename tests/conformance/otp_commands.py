"""Commands: what a scenario makes a process do (section 5 of the schema)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from dspex.runtime import (
    NOPROC,
    Actor,
    ActorExit,
    CallingSelf,
    CallTimeout,
    Exit,
    Ignore,
    Monitor,
    NamedRef,
    NameTaken,
    Participant,
    ProcessInfo,
    Ref,
    StartFailed,
    Timer,
    UnknownProcess,
    process_info,
    spawn,
)
from otp_scene import Scene, UnknownTarget
from otp_terms import ErlangError, call_exit, tuple_

CALL_ERRORS = (ActorExit, CallTimeout, CallingSelf, UnknownProcess)


class Raised(Exception):
    """An Erlang exception of a class and a reason, on its way out of an operation."""

    def __init__(self, kind: str, reason: object) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def uncaught(self) -> Exception:
        """What leaves the process."""
        return Exit(self.reason) if self.kind == "exit" else ErlangError(self.reason)


BADARG = ("error", "badarg")

ANSWERS = ("stop_reply", "noreply", "noreply_timeout", "reply_timeout", "reply_continue", "reply_after", "reply_early")
"""Commands that say how the callback returns; a sequence ends with them."""


@dataclass
class Command:
    """A plain message that makes its receiver run a command."""

    command: list[Any]


class GenServer(Actor):
    """What a server understands; ``Gs`` says how it answers."""

    async def command(self, command: list[Any]) -> Any:
        """Do it."""
        raise NotImplementedError

    async def ask(self, message: Any) -> Any:
        """A call with any other term."""
        raise NotImplementedError

    async def tell(self, message: Any) -> None:
        """A cast with any other term."""
        raise NotImplementedError


class Body:
    """A process of the scenario, as seen by the commands it runs."""

    def __init__(self, scene: Scene, me: Participant, label: str, parent: Ref[Any] | None) -> None:
        self.scene = scene
        self.me = me
        self.label = label
        self.parent = parent

    def target(self, target: str) -> Ref[Any] | NamedRef[Any]:
        if target == "self":
            return self.me.ref
        if target == "parent":
            assert self.parent is not None
            return self.parent
        return self.scene.target(target)

    def process(self, target: str) -> Ref[Any]:
        """A process; a name is a bad argument here, as in Erlang."""
        found = self.target(target)
        if isinstance(found, NamedRef):
            raise Raised(*BADARG)
        return found

    async def run(self, command: list[Any], *, catch: bool = True) -> Any:
        """Run a command. What it raises is what leaves the process; ``catch``: what an operation raises is its value."""
        what, *args = command
        match what:
            case "exit":
                raise Exit(self.scene.decode(args[0]))
            case "error":
                raise ErlangError(self.scene.decode(args[0]))
            case "throw":
                raise self.thrown(self.scene.decode(args[0]))
            case "seq":
                values: list[Any] = []
                for command in args[0]:
                    value = await self.run(command, catch=catch)
                    if command[0] in ANSWERS:
                        return value
                    values.append(value)
                return values
            case "call_unsafe":
                try:
                    return await self.op_call(*args)
                except Raised as raised:
                    raise raised.uncaught() from raised
        operation: Callable[..., Awaitable[Any]] | None = getattr(self, f"op_{what}", None)
        if operation is None:
            return await self.control(what, args)
        try:
            return await operation(*args)
        except Raised as raised:
            if not catch:
                raise raised.uncaught() from raised
            return {"exc": [raised.kind, self.scene.encode(raised.reason)]}
        except UnknownTarget as unknown:
            return {"exc": ["unknown_target", str(unknown)]}

    def thrown(self, value: object) -> Exception:
        """What a throw becomes that nothing catches."""
        raise NotImplementedError

    async def control(self, what: str, args: list[Any]) -> Any:
        """The commands that only an actor understands."""
        raise NotImplementedError(what)

    # --- operations ---------------------------------------------------------------------------------------------

    async def op_echo(self, value: Any) -> Any:
        return value

    async def op_link(self, target: str) -> bool:
        try:
            self.me.link(self.process(target))
        except ActorExit as error:
            raise Raised("error", error.reason) from error
        return True

    async def op_unlink(self, target: str) -> bool:
        self.me.unlink(self.process(target))
        return True

    async def op_monitor(self, target: str, name: str) -> str:
        self.scene.call_it(name, self.me.monitor(self.target(target)))
        return "ok"

    async def op_demonitor(self, name: str) -> bool:
        self.me.demonitor(self._monitor(name), flush=False)
        return True

    async def op_demonitor_flush(self, name: str) -> bool:
        self.me.demonitor(self._monitor(name), flush=True)
        return True

    async def op_demonitor_info(self, name: str) -> bool:
        return self.me.demonitor(self._monitor(name), flush=False)

    def _monitor(self, name: str) -> Monitor:
        monitor = self.scene.things[name]
        assert isinstance(monitor, Monitor)
        return monitor

    def _timer(self, name: str) -> Timer:
        timer = self.scene.things[name]
        assert isinstance(timer, Timer)
        return timer

    async def op_exit_to(self, target: str, reason: Any) -> bool:
        self.process(target).exit(self.scene.decode(reason))
        if not self.me.ref.alive:
            await anyio.sleep_forever()  # it was the process itself: it ends here
        return True

    async def op_send(self, target: str, message: Any) -> str:
        try:
            self.target(target).send(self._message(message))
        except UnknownProcess as error:
            raise Raised(*BADARG) from error
        return "ok"

    def _message(self, message: Any) -> Any:
        if isinstance(message, dict) and "cmd" in message:
            return Command(message["cmd"])
        return self.scene.decode(message)

    async def op_trap(self, on: bool) -> bool:
        return self.me.trap_exits(on)

    async def op_register(self, name: str, target: str) -> bool:
        # The atom undefined is no name, because it says that there is none.
        if name == "undefined":
            raise Raised(*BADARG)
        try:
            self.me.rt.register(name, self.process(target))
        except (NameTaken, ValueError) as error:
            raise Raised(*BADARG) from error
        return True

    async def op_unregister(self, name: str) -> bool:
        try:
            self.me.rt.unregister(name)
        except UnknownProcess as error:
            raise Raised(*BADARG) from error
        return True

    async def op_whereis(self, name: str) -> Any:
        found = self.me.rt.whereis(name)
        return self.scene.encode(found) if found is not None else "undefined"

    async def op_send_after(self, ms: int, target: str, message: Any, name: str) -> str:
        timer = self.me.send_after(ms / 1000, self.target(target), self._message(message))
        self.scene.call_it(name, timer)
        return "ok"

    async def op_start_timer(self, ms: int, target: str, message: Any, name: str) -> str:
        timer = self.me.start_timer(ms / 1000, self.target(target), self._message(message))
        self.scene.call_it(name, timer)
        return "ok"

    async def op_cancel_timer(self, name: str) -> Any:
        return "active" if self._timer(name).cancel() else False

    async def op_read_timer(self, name: str) -> Any:
        return "active" if self._timer(name).active else False

    async def op_call(self, target: str, request: Any, limit: Any) -> Any:
        ref = self.target(target).within(None if limit == "infinity" else limit / 1000)
        try:
            if isinstance(request, dict) and "cmd" in request:
                return await ref.call(GenServer.command, request["cmd"])
            return await ref.call(GenServer.ask, request)
        except CALL_ERRORS as error:
            raise Raised("exit", call_exit(error)) from error

    async def op_cast(self, target: str, request: Any) -> str:
        if isinstance(request, dict) and "cmd" in request:
            self.target(target).cast(GenServer.command, request["cmd"])
        else:
            self.target(target).cast(GenServer.tell, request)
        return "ok"

    async def op_is_alive(self, target: str) -> bool:
        return self.process(target).alive

    def _info(self) -> ProcessInfo:
        info = process_info(self.me.ref)
        assert info is not None
        return info

    def _labels(self, refs: list[Any]) -> list[str]:
        known = [self.scene.known(ref) for ref in refs]
        return sorted(f"<{label}>" for label in known if label not in (None, "driver"))

    async def op_links(self) -> list[str]:
        return self._labels(list(self._info().links))

    async def op_monitors(self) -> list[str]:
        seen = [(monitor, ref) for monitor, ref in self._info().monitors if monitor not in self.scene.hidden]
        named = [monitor.name for monitor, _ in seen if monitor.name is not None]
        return sorted([*named, *self._labels([ref for monitor, ref in seen if monitor.name is None])])

    async def op_monitored_by(self) -> list[str]:
        return self._labels([ref for monitor, ref in self._info().monitored_by if monitor not in self.scene.hidden])

    async def op_gs_stop(self, target: str, reason: Any, limit: Any) -> str:
        wanted = self.scene.decode(reason)
        try:
            await self.target(target).stop(wanted, within=None if limit == "infinity" else limit / 1000)
        except UnknownProcess as error:
            raise Raised("exit", NOPROC) from error
        except CallTimeout as error:
            raise Raised("exit", "timeout") from error
        except CallingSelf as error:
            raise Raised("exit", "calling_self") from error
        except ActorExit as error:
            raise Raised("exit", error.reason) from error
        return "ok"

    async def op_sleep(self, ms: int) -> str:
        await self.scene.sleep(ms)
        return "ok"

    async def op_flush(self) -> list[Any]:
        return [self.scene.encode(message) for message in self.me.flush()]

    async def op_spawn(self, name: str, options: dict[str, Any]) -> Any:
        ref = spawn(
            self.scene.raw, self.scene, name, self.me.ref, options.get("run"), trap_exit=options.get("trap", False)
        )
        label = self.scene.born(name, ref, "raw")
        self.scene.record("start", label, "-")
        if options.get("link"):
            self.me.link(ref)
        if "monitor" in options:
            self.scene.call_it(options["monitor"], self.me.monitor(ref))
        return self.scene.encode(self.scene.latest(label))

    async def op_start_gs(self, name: str, spec: dict[str, Any]) -> Any:
        actor = self.scene.make_gs(self.scene, name, spec, "-", self.me.ref)
        try:
            if spec.get("link"):
                ref = await self.me.start_link(actor, name=spec.get("reg"))
            else:
                ref = await self.me.rt.start(actor, name=spec.get("reg"))
        except Ignore:
            return "ignore"
        except StartFailed as failed:
            return tuple_("error", self.scene.encode(failed.reason))
        return tuple_("ok", self.scene.encode(ref))
