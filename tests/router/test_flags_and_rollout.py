"""Flags are checked as a whole, recorded and announced; a rollout is sticky, exact at its ends, and fair between."""

from collections.abc import Iterator
from math import sqrt

import pytest
from dspex.router import (
    BadFlags,
    Decision,
    EngineMissing,
    FlagChange,
    Flags,
    FlagStore,
    RoutedProgram,
    decide,
    is_native,
    place,
)

BOTH = RoutedProgram("qa", native="qa", legacy="legacy")


def keys(count: int) -> Iterator[str]:
    return (f"user-{number}" for number in range(count))


def test_a_change_holds_at_once_and_is_recorded_with_who_made_it() -> None:
    store = FlagStore()
    heard: list[FlagChange] = []
    store.subscribe(heard.append)

    store.set(use_native_predictors=False, by="ops")

    assert store.current.use_native_predictors is False
    assert [(change.by, change.before.use_native_predictors) for change in store.history] == [("ops", True)]
    assert heard == list(store.history)


def test_an_ended_subscription_hears_no_more() -> None:
    store = FlagStore()
    heard: list[FlagChange] = []
    store.subscribe(heard.append)()
    store.set(fallback_to_legacy=False)
    assert heard == []


def test_all_problems_of_bad_flags_are_told_at_once() -> None:
    with pytest.raises(BadFlags) as caught:
        Flags(use_native_predictors="yes", native_percent={"qa": 101, "mood": -1})  # type: ignore[arg-type]
    assert len(caught.value.problems) == 3
    assert "native_percent['qa']" in str(caught.value)


def test_an_unknown_flag_is_refused_with_the_names_that_exist_and_changes_nothing() -> None:
    store = FlagStore()
    with pytest.raises(BadFlags, match="use_native_predictors"):
        store.set(use_nativ=True, fallback_to_legacy=False)
    assert store.current == Flags()
    assert store.history == ()


def test_flags_cannot_be_changed_behind_the_store_s_back() -> None:
    percent = {"qa": 10.0}
    flags = Flags(native_percent=percent)
    percent["qa"] = 90.0
    assert flags.native_percent["qa"] == 10.0
    with pytest.raises(TypeError):
        flags.native_percent["qa"] = 50  # type: ignore[index]


def test_a_key_has_the_same_place_in_every_process_and_another_one_in_another_program() -> None:
    # Written down once: a release that moved the keys would move every user of a running rollout.
    assert place("qa", "user-7") == 82.957
    assert place("qa", "user-7") != place("mood", "user-7")


def test_nobody_is_native_at_0_and_everybody_at_100() -> None:
    assert not any(is_native("qa", key, 0) for key in keys(20_000))
    assert all(is_native("qa", key, 100) for key in keys(20_000))


@pytest.mark.parametrize("percent", [1, 25, 50, 99])
def test_the_split_over_100000_keys_is_within_four_standard_errors(percent: float) -> None:
    count = 100_000
    native = sum(is_native("qa", key, percent) for key in keys(count))
    share = percent / 100
    assert abs(native / count - share) < 4 * sqrt(share * (1 - share) / count)


def test_raising_the_percentage_takes_nobody_back() -> None:
    early = {key for key in keys(5_000) if is_native("qa", key, 10)}
    later = {key for key in keys(5_000) if is_native("qa", key, 40)}
    assert early < later


def test_the_decision_says_which_flag_made_it() -> None:
    assert decide(Flags(), BOTH, None) == Decision("native", "use_native_predictors=True")
    assert decide(Flags(use_native_predictors=False), BOTH, None) == Decision("legacy", "use_native_predictors=False")
    rollout = Flags(use_native_predictors=False, native_percent={"qa": 100})
    assert decide(rollout, BOTH, "a") == Decision("native", "native_percent['qa']=100")
    assert decide(rollout, RoutedProgram("mood", native="m", legacy="l"), "a").engine == "legacy"


def test_the_same_key_always_gets_the_same_engine() -> None:
    flags = Flags(native_percent={"qa": 50})
    for key in keys(50):
        assert len({decide(flags, BOTH, key).engine for _ in range(5)}) == 1


def test_without_a_key_each_request_draws_its_own() -> None:
    engines = {decide(Flags(native_percent={"qa": 50}), BOTH, None).engine for _ in range(200)}
    assert engines == {"native", "legacy"}


@pytest.mark.parametrize(
    ("flags", "program", "flag"),
    [
        (Flags(), RoutedProgram("qa", legacy="legacy"), "use_native_predictors=True"),
        (Flags(use_native_predictors=False), RoutedProgram("qa", native="qa"), "use_native_predictors=False"),
        (Flags(native_percent={"qa": 0}), RoutedProgram("qa", native="qa"), r"native_percent\['qa'\]=0"),
    ],
)
def test_an_engine_the_program_does_not_have_is_an_error_that_names_the_flag(
    flags: Flags, program: RoutedProgram, flag: str
) -> None:
    with pytest.raises(EngineMissing, match=flag):
        decide(flags, program, "a")


def test_a_program_without_any_side_cannot_be_described() -> None:
    with pytest.raises(ValueError, match="no side"):
        RoutedProgram("qa")
