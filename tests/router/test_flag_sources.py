"""Flags from the environment, from a file that is watched, from an OpenFeature provider; all problems at once."""

from pathlib import Path

import anyio
import pytest
from dspex.router import (
    BadFlags,
    FlagFile,
    Flags,
    FlagStore,
    OpenFeatureChooser,
    Router,
    flags_from_environment,
    flags_from_file,
)
from dspex.runtime import Event, StartFailed, open_runtime
from scripted_arms import PROGRAMS

pytestmark = pytest.mark.anyio


def test_the_environment_sets_flags_by_their_names() -> None:
    flags = flags_from_environment(
        {
            "DSPEX_FLAG_USE_NATIVE_PREDICTORS": "false",
            "DSPEX_FLAG_NATIVE_PERCENT": "qa=25, mood=50.5",
            "DSPEX_FLAG_MODE": "other=shadow",
            "DSPEX_MODEL": "is no flag",
        }
    )
    assert flags == Flags(
        use_native_predictors=False, native_percent={"qa": 25, "mood": 50.5}, mode={"other": "shadow"}
    )


def test_all_that_is_wrong_in_the_environment_is_told_at_once() -> None:
    with pytest.raises(BadFlags) as caught:
        flags_from_environment(
            {
                "DSPEX_FLAG_FALLBACK_TO_LEGACY": "perhaps",
                "DSPEX_FLAG_USE_NATIV": "1",
                "DSPEX_FLAG_NATIVE_PERCENT": "qa",
                "DSPEX_FLAG_MODE": "qa=sideways",
            }
        )
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    for part in ("perhaps", "use_nativ'", "DSPEX_FLAG_NATIVE_PERCENT", "sideways"):
        assert part in text


FILES = {
    "flags.toml": 'fallback_to_legacy = false\n[native_percent]\nqa = 10\n[mode]\nmood = "legacy"\n',
    "flags.json": '{"fallback_to_legacy": false, "native_percent": {"qa": 10}, "mode": {"mood": "legacy"}}',
    "flags.yaml": "fallback_to_legacy: false\nnative_percent:\n  qa: 10\nmode:\n  mood: legacy\n",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_it_in_toml_json_or_yaml(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(FILES[name])
    expected = Flags(fallback_to_legacy=False, native_percent={"qa": 10}, mode={"mood": "legacy"})
    assert flags_from_file(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("flags.toml", "qa = [", "cannot be read"),
        ("flags.toml", "use_native = true", "there is no flag 'use_native'"),
        ("flags.json", "[1]", "not one list"),
        ("flags.yaml", "a: b: c", "cannot be read"),
        ("flags.yaml", "!!python/object/apply:os.system ['true']", "cannot be read"),
        ("flags.ini", "[a]", ".toml, .json, .yaml"),
        ("flags.toml", '[mode]\nqa = "rollout"', "native_percent"),
        ("flags.toml", '[mode]\nqa = "native"\n[native_percent]\nqa = 5', "conflicts"),
    ],
)
def test_a_file_that_is_wrong_is_refused_and_says_why(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadFlags) as caught:
        flags_from_file(tmp_path / name)
    assert says in str(caught.value)


async def test_a_changed_file_holds_and_a_broken_one_keeps_what_was_and_is_an_event(tmp_path: Path) -> None:
    path = tmp_path / "flags.toml"
    path.write_text("use_native_predictors = false\n")
    store = FlagStore(programs=["qa"])
    async with open_runtime() as rt:
        events: list[Event] = []
        rt.events.subscribe(events.append, prefix="router.flags.file")
        file = await rt.start(FlagFile(store, path, interval=3600))
        assert store.current == Flags(use_native_predictors=False)

        path.write_text("[native_percent]\nqa = 40\n")
        await file.call(FlagFile.look)
        assert store.current == Flags(native_percent={"qa": 40})
        assert [(change.by, dict(change.changes)) for change in store.history][-1] == (
            "file flags.toml",
            {"use_native_predictors": True, "native_percent": {"qa": 40}},
        )

        for broken in ("[native_percent\n", "[native_percent]\nq = 40\n"):
            path.write_text(broken)
            await file.call(FlagFile.look)
            await file.call(FlagFile.look)
            assert store.current == Flags(native_percent={"qa": 40})
        path.unlink()
        await file.call(FlagFile.look)
        assert store.current == Flags(native_percent={"qa": 40})
    assert [event.name for event in events] == [
        "router.flags.file_read",
        "router.flags.file_read",
        *["router.flags.file_refused"] * 3,
    ]
    assert "no program is called that" in events[3].data["problems"][0]


async def test_it_looks_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "flags.toml"
    path.write_text("")
    store = FlagStore()
    changed = anyio.Event()
    store.subscribe(lambda _: changed.set())
    async with open_runtime() as rt:
        await rt.start(FlagFile(store, path, interval=0.01))
        path.write_text("fallback_to_legacy = false\n")
        with anyio.fail_after(10):
            await changed.wait()
    assert store.current.fallback_to_legacy is False


async def test_a_service_does_not_start_on_flags_that_nobody_meant(tmp_path: Path) -> None:
    (tmp_path / "flags.toml").write_text("use_native = 1")
    async with open_runtime() as rt:
        with pytest.raises(StartFailed) as caught:
            await rt.start(FlagFile(FlagStore(), tmp_path / "flags.toml"))
    assert isinstance(caught.value.__cause__, BadFlags)
    with pytest.raises(ValueError, match="interval"):
        FlagFile(FlagStore(), "flags.toml", interval=0)


async def test_an_openfeature_provider_may_decide_and_when_it_has_no_opinion_the_flags_do() -> None:
    openfeature = pytest.importorskip("openfeature.api", reason="needs openfeature-sdk")
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    def by_key(flag: object, context: object) -> object:
        from openfeature.flag_evaluation import FlagResolutionDetails, Reason

        key = getattr(context, "targeting_key", None)
        return FlagResolutionDetails("legacy" if key == "careful" else "native", reason=Reason.TARGETING_MATCH)

    flag = InMemoryFlag("native", {"native": "native", "legacy": "legacy"}, context_evaluator=by_key)  # type: ignore[arg-type]
    openfeature.set_provider(InMemoryProvider({"dspex.engine.qa": flag}), domain="dspex-test")
    chooser = OpenFeatureChooser("dspex-test")
    assert chooser.choose("qa", "careful") == ("legacy", "OpenFeature dspex.engine.qa='legacy'")
    assert chooser.choose("qa", None) == ("native", "OpenFeature dspex.engine.qa='native'")
    assert chooser.choose("unknown", "careful") is None
    assert Router(PROGRAMS, FlagStore(), chooser=chooser)
