"""Events reach the host's log when it asks for them, at the level they deserve, and without what users wrote."""

import logging
import subprocess
import sys

import pytest
import structlog
from dspex.runtime import Actor, ActorExit, log_events, open_runtime

pytestmark = pytest.mark.anyio

SECRET = "sk-canary-4711"


class Teller(Actor):
    def tell(self, what: str) -> None:
        raise ValueError(what)


async def crash_one() -> None:
    async with open_runtime() as rt:
        log_events(rt.events)
        teller = await rt.start(Teller(), name="teller")
        with pytest.raises(ActorExit):
            await teller.call(Teller.tell, SECRET)


async def test_a_crash_is_an_error_line_that_names_the_actor_and_not_what_it_was_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "dspex.events"):
        await crash_one()
    lines = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "dspex.events"]
    (crash,) = [text for level, text in lines if level == "ERROR"]
    assert crash.startswith("event='runtime.actor.crashed' process='teller#")
    assert "error='ValueError'" in crash
    assert any("reason='Crash(ValueError)'" in text for _, text in lines)
    assert SECRET not in caplog.text


async def test_structlog_s_own_configuration_holds_where_there_is_one() -> None:
    entries = structlog.testing.LogCapture()
    structlog.configure(processors=[entries])
    try:
        await crash_one()
    finally:
        structlog.reset_defaults()
    crashed = [entry for entry in entries.entries if entry["event"] == "runtime.actor.crashed"]
    assert [(entry["log_level"], entry["error"]) for entry in crashed] == [("error", "ValueError")]


async def test_an_ended_subscription_logs_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async with open_runtime() as rt:
        with caplog.at_level(logging.DEBUG, "dspex.events"):
            log_events(rt.events)()
            await rt.start(Teller())
    assert not [r for r in caplog.records if r.name == "dspex.events"]


def test_the_library_prints_nothing_by_itself() -> None:
    code = """
import anyio
from dspex import Actor, Child, Supervisor, open_runtime
class Bad(Actor):
    def bad(self): raise RuntimeError("loud")
async def main():
    async with open_runtime() as rt:
        await rt.start(Supervisor([Child("bad", Bad, name="bad")]))
        rt.ref("bad").cast(Bad.bad)
        await anyio.sleep(0.05)
anyio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
