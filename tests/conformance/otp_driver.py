"""The driver: the process that runs the steps of a scenario (section 4 of the schema)."""

from __future__ import annotations

from typing import Any

import anyio
from compare import groups
from dspex.runtime import (
    ActorExit,
    Down,
    Ignore,
    Mailbox,
    NamedRef,
    ReceiveTimeout,
    Ref,
    Runtime,
    StartFailed,
    UnknownProcess,
    open_runtime,
    spawn,
)
from dspex.supervisors import (
    BadChildSpec,
    Child,
    ChildNotFound,
    ChildPresent,
    ChildRestarting,
    ChildRunning,
    DynamicSupervisor,
    Supervisor,
)
from otp_commands import CALL_ERRORS, Command, GenServer, Raised
from otp_processes import Answer, Gs, RawBody, Request, TracedSupervisor, child, make_supervisor, raw
from otp_scene import Scene, UnknownTarget
from otp_terms import bad_spec, call_exit, tuple_

Record = dict[str, Any]
Step = dict[str, Any]

REFUSALS = {ChildNotFound: "not_found", ChildRunning: "running", ChildRestarting: "restarting"}


class Steps:
    """Runs steps in one process: the driver, or the helper of an async step."""

    def __init__(self, scene: Scene, me: Mailbox, label: str, pending: dict[str, list[Any]]) -> None:
        self.scene = scene
        self.me = me
        self.body = RawBody(scene, me, label, None)
        self.pending = pending

    async def run(self, step: Step) -> Any:
        try:
            return await getattr(self, f"step_{step['op']}")(step)
        except UnknownTarget as unknown:
            return {"exc": ["unknown_target", str(unknown)]}

    # --- processes ----------------------------------------------------------------------------------------------

    async def step_start(self, step: Step) -> Any:
        spec = step["spec"]
        try:
            ref = await self.me.start_link(make_supervisor(self.scene, spec, "-"), name=spec.get("reg"))
        except Ignore:
            return "ignore"
        except BadChildSpec as error:
            return tuple_("error", bad_spec(error, within=True))
        except StartFailed as failed:
            return tuple_("error", self.scene.encode(failed.reason))
        return tuple_("ok", self.scene.encode(ref))

    async def step_stop(self, step: Step) -> Any:
        ref = self.scene.latest(step.get("proc", "root"))
        monitor = self._watch(ref)
        ref.exit(self.scene.decode(step.get("reason", "shutdown")))
        try:
            down = await self.me.receive(
                lambda m: isinstance(m, Down) and m.monitor is monitor, within=step.get("timeout", 5000) / 1000
            )
        except ReceiveTimeout:
            return "timeout"
        return self.scene.encode(down.reason)

    def _watch(self, ref: Ref[Any]) -> Any:
        monitor = self.me.monitor(ref)
        self.scene.hidden.add(monitor)
        return monitor

    async def step_do(self, step: Step) -> Any:
        command, proc = step["cmd"], step["proc"]
        if proc == "driver":
            return await self.body.run(command)
        ref = self.scene.target(proc)
        if self._kind(ref) == "raw":
            return await self._ask_raw(ref, command)
        match step.get("via", "call"):
            case "cast":
                ref.cast(GenServer.command, command)
            case "info":
                try:
                    ref.send(Command(command))
                except UnknownProcess:
                    return {"exc": ["error", "badarg"]}
            case _:
                try:
                    return await ref.within(step.get("timeout", 5000) / 1000).call(GenServer.command, command)
                except CALL_ERRORS as error:
                    return {"exc": ["exit", self.scene.encode(call_exit(error))]}
        return "ok"

    def _kind(self, ref: Ref[Any] | NamedRef[Any]) -> str | None:
        resolved = ref.resolve() if isinstance(ref, NamedRef) else ref
        label = self.scene.known(resolved) if resolved is not None else None
        return self.scene.kinds.get(label.partition("#")[0]) if label is not None else None

    async def _ask_raw(self, ref: Ref[Any] | NamedRef[Any], command: list[Any]) -> Any:
        resolved = ref.resolve() if isinstance(ref, NamedRef) else ref
        assert resolved is not None
        monitor = self._watch(resolved)
        request = Request(command, self.me.ref)
        resolved.send(request)
        answer = await self.me.receive(
            lambda m: (isinstance(m, Answer) and m.request is request) or (isinstance(m, Down) and m.monitor is monitor)
        )
        self.me.demonitor(monitor, flush=True)
        return answer.value if isinstance(answer, Answer) else {"down": self.scene.encode(answer.reason)}

    async def step_sleep(self, step: Step) -> str:
        await self.me.rt.sleep(step["ms"] / 1000)
        return "ok"

    async def step_await_exit(self, step: Step) -> str:
        await self.scene.latest(step["proc"]).ended()
        return "ok"

    async def step_async(self, step: Step) -> str:
        self.pending[step["tag"]] = result = [anyio.Event(), None]

        async def helper(me: Mailbox) -> None:
            result[1] = await Steps(self.scene, me, "?", self.pending).run(step["step"])
            result[0].set()

        spawn(helper)
        return "ok"

    async def step_await(self, step: Step) -> Any:
        done, _ = result = self.pending[step["tag"]]
        with anyio.move_on_after(step.get("timeout", 5000) / 1000):
            await done.wait()
        return result[1] if done.is_set() else "pending"

    # --- supervisors --------------------------------------------------------------------------------------------

    async def _call(self, step: Step, method: Any, *args: Any) -> Any:
        """A supervisor call. Raises Raised for its exit, what it refuses with otherwise."""
        try:
            return await self.scene.target(step["sup"]).within(None).call(method, *args)
        except (ChildNotFound, ChildRunning, ChildRestarting, ChildPresent, BadChildSpec, StartFailed):
            raise
        except CALL_ERRORS as error:
            raise Raised("exit", call_exit(error)) from error

    async def _answer(self, step: Step, method: Any, *args: Any) -> Any:
        """What the caller of a supervisor's function gets for its refusals."""
        try:
            ref = await self._call(step, method, *args)
        except Raised as raised:
            return {"exc": [raised.kind, self.scene.encode(raised.reason)]}
        except ChildPresent as present:
            there = self.scene.encode(present.ref) if present.ref is not None else "undefined"
            if present.restarting:
                there = tuple_("restarting", there)
            elif present.ref is None:
                return tuple_("error", "already_present")
            return tuple_("error", tuple_("already_started", there))
        except BadChildSpec as error:
            return tuple_("error", bad_spec(error, within=False))
        except StartFailed as failed:
            reason = self.scene.encode(failed.reason)
            if method is Supervisor.start_child:
                reason = tuple_(reason, {"child": args[0].id})
            return tuple_("error", reason)
        except tuple(REFUSALS) as refusal:
            return tuple_("error", REFUSALS[type(refusal)])
        return ref

    def _dynamic(self, step: Step) -> bool:
        return self._kind(self.scene.target(step["sup"])) == "dynamic"

    async def _needs_static(self, step: Step) -> Any:
        """What a dynamic supervisor says to what makes sense for others only."""
        answer = await self._answer(step, DynamicSupervisor.count_children)
        return answer if isinstance(answer, dict) else tuple_("error", "simple_one_for_one")

    def _started(self, answer: Any) -> Any:
        if isinstance(answer, dict):
            return answer
        return tuple_("ok", self.scene.encode(answer) if answer is not None else "undefined")

    async def step_start_child(self, step: Step) -> Any:
        if "name" in step:
            answer = await self._answer(step, DynamicSupervisor.start_child, step["name"], step.get("with", {}))
            return self._started(answer)
        sup = self.scene.target(step["sup"])
        resolved = sup.resolve() if isinstance(sup, NamedRef) else sup
        host = resolved.process.host if resolved is not None else None
        if not isinstance(host, TracedSupervisor):
            return await self._answer(step, Supervisor.count_children)  # nobody there, who could look at the spec?
        try:
            spec = child(self.scene, step["spec"], host)
        except BadChildSpec as error:
            return tuple_("error", bad_spec(error, within=False))
        return self._started(await self._answer(step, Supervisor.start_child, spec))

    async def step_terminate_child(self, step: Step) -> Any:
        which = step["child"]
        if self._dynamic(step):
            if not isinstance(which, dict):
                return await self._needs_static(step)
            answer = await self._answer(step, DynamicSupervisor.terminate_child, self.scene.latest(which["pid"]))
        else:
            answer = await self._answer(step, Supervisor.terminate_child, self._id(which))
        return "ok" if answer is None else answer

    def _id(self, which: Any) -> Any:
        return which if isinstance(which, str) else ("pid", self.scene.latest(which["pid"]))

    async def step_restart_child(self, step: Step) -> Any:
        if self._dynamic(step):
            return await self._needs_static(step)
        return self._started(await self._answer(step, Supervisor.restart_child, self._id(step["child"])))

    async def step_delete_child(self, step: Step) -> Any:
        if self._dynamic(step):
            return await self._needs_static(step)
        answer = await self._answer(step, Supervisor.delete_child, self._id(step["child"]))
        return "ok" if answer is None else answer

    async def step_get_childspec(self, step: Step) -> Any:
        if self._dynamic(step):
            which = step["child"]
            spec = await self._answer(
                step, DynamicSupervisor.get_childspec, self.scene.latest(which["pid"]) if isinstance(which, dict) else None
            )
            if isinstance(spec, Child) and isinstance(which, str) and which != spec.id:
                spec = tuple_("error", "not_found")
        else:
            spec = await self._answer(step, Supervisor.get_childspec, self._id(step["child"]))
        if isinstance(spec, dict):
            return spec
        shutdown = spec.patience
        return {
            "id": spec.id,
            "restart": spec.restart,
            "shutdown": "brutal_kill" if spec.brutal else "infinity" if shutdown is None else round(shutdown * 1000),
            "type": spec.type,
            "significant": spec.significant,
        }

    async def step_count_children(self, step: Step) -> Any:
        method = DynamicSupervisor.count_children if self._dynamic(step) else Supervisor.count_children
        counts = await self._answer(step, method)
        if isinstance(counts, dict):
            return counts
        return {name: getattr(counts, name) for name in ("specs", "active", "supervisors", "workers")}

    async def step_which_children(self, step: Step) -> Any:
        dynamic = self._dynamic(step)
        method = DynamicSupervisor.which_children if dynamic else Supervisor.which_children
        listed = await self._answer(step, method)
        if isinstance(listed, dict):
            return listed
        return [
            [
                "undefined" if dynamic else info.id,
                "restarting" if info.restarting else "undefined" if info.ref is None else self.scene.encode(info.ref),
                info.type,
            ]
            for info in listed
        ]


async def drive(me: Mailbox, scene: Scene, record: Record, result: Record) -> None:
    """Run all steps; the raw trace goes into ``result``."""
    scene.introduce(me.ref, "driver")
    steps = Steps(scene, me, "driver", {})
    for group in groups(record["steps"]):
        results: list[Any] = []
        for step in group:
            if step["op"] == "start" and "spec" not in step:
                step = {**step, "spec": record["tree"]}
            results.append(await steps.run(step))
        await scene.rest()
        for message in me.flush():
            if not (isinstance(message, Down) and message.monitor in scene.hidden):
                scene.message("msg", "driver", message)
        result["steps"].append({"r": results, "ev": scene.take()})
    result["final"] = scene.alive()
    scene.recording = False


async def replay(record: Record) -> Record:
    """Run one scenario in a runtime of its own, under virtual time; returns the raw trace (section 6 of the schema)."""
    result: Record = {"name": record["name"], "steps": [], "final": None}

    async def run(rt: Runtime) -> None:
        scene = Scene(rt, Gs, raw)
        driver = spawn(drive, scene, record, result, trap_exit=True)
        await driver.ended()
        if result["final"] is None:
            raise ActorExit(driver.exit_reason, "the driver")

    async with open_runtime() as rt:
        await run(rt)
    return result
