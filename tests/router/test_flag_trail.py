"""Who changed which flag when: every source by its name, on disk, once, and readable after a restart."""

import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest
from dspex.router import (
    BadFlags,
    Chooser,
    Engine,
    FlagFile,
    FlagJournal,
    Flags,
    FlagStore,
    JournalUnreadable,
    OpenFeatureFlags,
    RollbackPolicy,
    Router,
    flag_history,
    read_environment,
    router_children,
)
from dspex.runtime import Event, NamedRef, StartFailed, open_runtime
from dspex.supervisors import Supervisor
from scripted_arms import PROGRAMS, scripted

pytestmark = pytest.mark.anyio


async def test_changes_of_every_source_are_on_disk_once_and_there_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "flags.toml"
    file.write_text("[native_percent]\nqa = 10\n")
    trail = tmp_path / "journal.sqlite"
    store = FlagStore(Flags(fallback_to_legacy=False))
    read_environment(store, {"DSPEX_FLAG_USE_LEGACY_OPTIMIZER": "1"})
    async with open_runtime() as rt:
        journal = await rt.start(FlagJournal(trail, store))
        await rt.start(FlagFile(store, file, base=store.current))
        store.set(mode={"mood": "shadow"}, by="ops")
        store.set(mode={"mood": "shadow"}, by="somebody who changes nothing")
        assert await journal.call(FlagJournal.written) == 3
    async with open_runtime() as rt:  # the same store, another incarnation
        journal = await rt.start(FlagJournal(trail, store))
        store.set(require={"qa": "p95<2s"}, by="automatic rollback: it was slow")
    other = FlagStore()
    async with open_runtime() as rt:  # another process, so to speak
        await rt.start(FlagJournal(trail, other))
        other.set(use_native_signatures=False)

    changes = flag_history(trail)
    assert [change.by for change in changes] == [
        "start",
        "environment",
        "file flags.toml",
        "ops",
        "automatic rollback: it was slow",
        "start",
        "code",
    ]
    assert changes[0].changes == Flags(fallback_to_legacy=False).to_dict()
    assert (changes[1].changes, changes[1].before) == ({"use_legacy_optimizer": True}, {"use_legacy_optimizer": False})
    assert changes[2].changes == {"native_percent": {"qa": 10}}
    assert changes[3].changes == {"mode": {"mood": "shadow"}}
    assert changes[4].changes["require"]["qa"]["latency_s"] == 2
    assert "ops  mode={'mood': 'shadow'}" in str(changes[3])
    assert [change.at for change in changes] == sorted(change.at for change in changes)
    assert flag_history(trail, since=changes[-1].at)[-1].by == "code"


async def test_a_rollback_is_in_the_trail_of_an_app_s_journal(tmp_path: Path) -> None:
    store = FlagStore()

    async def fails(request: object) -> Any:
        raise RuntimeError("no")

    policy = RollbackPolicy(min_requests=3, window=10)
    async with scripted(store, native=fails, journal=tmp_path / "journal.sqlite", rollback=policy) as (rt, router):
        moved = anyio.Event()
        rt.events.subscribe(lambda _: moved.set(), prefix="router.rolled_back")
        for _ in range(3):
            with pytest.raises(RuntimeError):
                await router.call(Router.run, "qa", {})
        with anyio.fail_after(30):
            await moved.wait()
    by = [change.by for change in flag_history(tmp_path / "journal.sqlite")]
    assert by[0] == "start"
    assert by[1].startswith("automatic rollback: native fails 100.0% of 3")


async def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no database, and long enough to be taken for none" * 20)
    with pytest.raises(JournalUnreadable):
        flag_history(file)
    with pytest.raises(JournalUnreadable):
        flag_history(tmp_path / "nothing")
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(FlagJournal(file, FlagStore()))
        assert isinstance(caught.value.__cause__, JournalUnreadable)


async def test_what_could_not_be_written_is_an_event_and_is_written_later(tmp_path: Path) -> None:
    trail = tmp_path / "journal.sqlite"
    store = FlagStore()
    async with open_runtime() as rt:
        failed: list[Event] = []
        rt.events.subscribe(failed.append, prefix="router.journal.failed")
        journal = await rt.start(FlagJournal(trail, store))
        with sqlite3.connect(trail) as connection:
            connection.execute("ALTER TABLE flag_changes RENAME TO elsewhere")
            connection.execute("CREATE VIEW flag_changes AS SELECT 1")
        connection.close()
        store.set(fallback_to_legacy=False, by="ops")
        assert await journal.call(FlagJournal.written) == 0
        assert failed[0].data["waiting"] == 1
        with sqlite3.connect(trail) as connection:
            connection.execute("DROP VIEW flag_changes")
            connection.execute("ALTER TABLE elsewhere RENAME TO flag_changes")
        connection.close()
        assert await journal.call(FlagJournal.written) == 1
    assert [change.by for change in flag_history(trail)] == ["start", "ops"]


# --- OpenFeature ------------------------------------------------------------------------------------------------------


async def test_an_openfeature_provider_holds_the_flags_and_a_bad_one_changes_nothing() -> None:
    openfeature = pytest.importorskip("openfeature.api", reason="needs openfeature-sdk")
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    def provide(**flags: object) -> None:
        made = {f"dspex.{name}": InMemoryFlag("on", {"on": value}) for name, value in flags.items()}
        openfeature.set_provider(InMemoryProvider(made), domain="dspex-flags-test")

    store = FlagStore(Flags(use_legacy_optimizer=True), programs=["qa"])
    provide(use_native_predictors=False, native_percent={"qa": 40}, features={"react": "legacy"})
    async with open_runtime() as rt:
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="router.flags.provider")
        flags = await rt.start(OpenFeatureFlags(store, "dspex-flags-test", interval=3600))
        expected = Flags(
            use_legacy_optimizer=True,
            use_native_predictors=False,
            native_percent={"qa": 40},
            features={"react": "legacy"},
        )
        assert store.current == expected
        for bad in ({"native_percent": {"q": 40}}, {"use_native_predictors": "perhaps"}, {"mode": {"qa": "sideways"}}):
            provide(**bad)
            await flags.call(OpenFeatureFlags.look)
            await flags.call(OpenFeatureFlags.look)
            assert store.current == expected
        provide(use_native_predictors=True)
        await flags.call(OpenFeatureFlags.look)
        assert store.current.use_native_predictors is True
    assert [change.by for change in store.history] == ["OpenFeature dspex-flags-test"] * 2
    assert [event.name for event in events] == [
        "router.flags.provider_read",
        *["router.flags.provider_refused"] * 3,
        "router.flags.provider_read",
    ]
    with pytest.raises(ValueError, match="interval"):
        OpenFeatureFlags(store, interval=0)


class Broken(Chooser):
    def choose(self, program: str, key: str | None) -> tuple[Engine, str] | None:
        raise ConnectionError("the flag service is away")


async def test_a_chooser_that_fails_leaves_it_to_the_flags_and_is_an_event() -> None:
    async with open_runtime() as rt:
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="router.")
        children = router_children(PROGRAMS, FlagStore(), chooser=Broken())
        await rt.start(Supervisor(children))
        router: NamedRef[Router] = rt.ref("router")
        with pytest.raises(Exception):  # noqa: B017, PT011 - no program runs behind these arms; what counts is the event
            await router.call(Router.run, "qa", {})
        assert router.alive
    failed = [event for event in events if event.name == "router.chooser_failed"]
    assert failed[0].data == {"program": "qa", "error": "ConnectionError: the flag service is away"}
    assert any(event.name == "router.decided" and "use_native" in event.data["reason"] for event in events)


def test_a_store_refuses_what_cannot_hold_and_records_nothing() -> None:
    store = FlagStore()
    with pytest.raises(BadFlags):
        store.set(features={"reactt": "legacy"})
    assert (store.history, store.changed_times) == ((), 0)
