"""Flags by the seed's names and one for each feature and program: what each does, which outranks which, what is refused."""

from pathlib import Path

import pytest
from dspex.router import (
    BadFlags,
    Decision,
    EngineMissing,
    Flags,
    FlagStore,
    Requirement,
    RoutedProgram,
    decide,
    flags_from_environment,
    flags_from_file,
    read_environment,
)

AGENT = RoutedProgram("qa", native="qa", legacy="pool", features=lambda: {"react", "signatures", "predict"})
PLAIN = RoutedProgram("plain", native="plain", legacy="pool", features=lambda: {"module"})
UNKNOWN = RoutedProgram("other", native="other", legacy="pool")


def test_the_four_flags_of_the_seed_are_there_with_their_defaults() -> None:
    flags = Flags()
    assert flags.use_native_signatures is True
    assert flags.use_native_predictors is True
    assert flags.use_legacy_optimizer is False
    assert flags.fallback_to_legacy is True


@pytest.mark.parametrize(
    ("flags", "program", "engine", "flag"),
    [
        # Signatures of the workers: for whoever has one, and whoever may have one.
        (Flags(use_native_signatures=False), AGENT, "legacy", "use_native_signatures"),
        (Flags(use_native_signatures=False, use_native_predictors=True), AGENT, "legacy", "use_native_signatures"),
        (Flags(use_native_signatures=False), UNKNOWN, "legacy", "use_native_signatures"),
        (Flags(use_native_signatures=False), PLAIN, "native", "use_native_predictors"),
        (Flags(use_native_signatures=False, use_native_predictors=False), PLAIN, "legacy", "use_native_predictors"),
        # The program's own outrank the two.
        (Flags(use_native_signatures=False, mode={"qa": "native"}), AGENT, "native", "mode"),
        (Flags(use_native_signatures=False, native_percent={"qa": 100}), AGENT, "native", "native_percent"),
        # A feature flag outranks the program's mode, and has exceptions by program.
        (Flags(features={"react": "legacy"}), AGENT, "legacy", "features"),
        (Flags(features={"react": "legacy"}), PLAIN, "native", "use_native_predictors"),
        (Flags(features={"react": "legacy"}), UNKNOWN, "native", "use_native_predictors"),
        (Flags(features={"react": "legacy"}, mode={"qa": "native"}), AGENT, "legacy", "features"),
        (Flags(features={"react": "legacy"}, native_percent={"qa": 100}), AGENT, "legacy", "features"),
        (Flags(features={"react": "legacy", "qa/react": "native"}), AGENT, "native", "use_native_predictors"),
        (Flags(features={"qa/react": "legacy"}), AGENT, "legacy", "features"),
        (Flags(features={"other/react": "legacy"}), AGENT, "native", "use_native_predictors"),
        (Flags(features={"other/react": "legacy"}), UNKNOWN, "legacy", "features"),
        (Flags(features={"qa/image": "legacy"}), AGENT, "native", "use_native_predictors"),
        (Flags(features={"react": "native"}, use_native_predictors=False), AGENT, "legacy", "use_native_predictors"),
    ],
)
def test_which_flag_decides(flags: Flags, program: RoutedProgram, engine: str, flag: str) -> None:
    decision = decide(flags, program, "user-7")
    assert (decision.engine, decision.flag) == (engine, flag)
    assert flag in decision.reason


def test_a_feature_kept_from_the_native_engine_is_still_compared_in_the_shadow() -> None:
    for serves in ("native", "legacy"):
        flags = Flags(features={"react": "legacy"}, mode={"qa": "shadow"}, shadow_serves=serves)
        assert decide(flags, AGENT, None) == Decision("legacy", "features['react']='legacy'", "native")


def test_the_call_s_own_engine_outranks_a_feature_flag() -> None:
    assert decide(Flags(features={"react": "legacy"}), AGENT, None, asked="native").flag == "engine"


def test_a_program_that_only_one_engine_has_names_the_flag_that_forces_the_other() -> None:
    lonely = RoutedProgram("qa", native="qa", features=lambda: {"react", "signatures"})
    with pytest.raises(EngineMissing, match=r"features\['react'\]='legacy'.*change"):
        decide(Flags(features={"react": "legacy"}), lonely, None)
    with pytest.raises(EngineMissing, match="change use_native_signatures=False"):
        decide(Flags(use_native_signatures=False), lonely, None)


def test_features_are_looked_up_only_when_a_flag_speaks_of_them() -> None:
    asked: list[int] = []

    def features() -> set[str]:
        asked.append(1)
        return {"react"}

    program = RoutedProgram("qa", native="qa", legacy="pool", features=features)
    decide(Flags(native_percent={"qa": 50}), program, "a")
    assert asked == []
    decide(Flags(features={"react": "legacy"}), program, "a")
    assert asked


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({"reactt": "legacy"}, "there is no feature 'reactt'; did you mean 'react'?"),
        ({"ReAct": "legacy"}, "did you mean 'react'?"),
        ({"qa/reactt": "legacy"}, "did you mean 'react'?"),
        ({"/react": "legacy"}, "'program/react'"),
        ({"zzzzzz": "legacy"}, "docs/feature-matrix.md"),
        ({"react": "python"}, "\"native\" or \"legacy\", not 'python'"),
        ({"flex": "native"}, "cannot be: legacy only"),
        ({"threading": "legacy"}, "no engine has it"),
    ],
)
def test_a_feature_flag_that_cannot_hold_is_refused(features: dict[str, str], says: str) -> None:
    with pytest.raises(BadFlags) as caught:
        Flags(features=features)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_everything_that_is_wrong_is_told_at_once_with_what_was_meant() -> None:
    store = FlagStore(programs=["qa"])
    with pytest.raises(BadFlags) as caught:
        store.set(
            use_native_signature=True,
            use_native_predictors=1,
            mode={"qa": "rollout"},
            features={"reakt": "legacy"},
            require={"qa": "fast"},
            native_percent={"qa": 101},
        )
    assert len(caught.value.problems) == 5
    for said in ("did you mean 'use_native_signatures'", "True or False", "did you mean 'react'", "no bound", "0 to 100"):
        assert said in str(caught.value)
    assert store.current == Flags()


def test_a_program_that_is_not_there_is_refused_in_every_flag_that_names_one() -> None:
    store = FlagStore(programs=["qa", "mood"])
    with pytest.raises(BadFlags) as caught:
        store.set(
            mode={"moood": "legacy"},
            native_percent={"q": 1},
            features={"qb/react": "legacy"},
            require={"x": "p95<1s"},
        )
    flags = [problem.partition("[")[0] for problem in caught.value.problems]
    assert flags == ["native_percent", "mode", "features", "require"]
    assert "did you mean 'mood'" in str(caught.value)


def test_conflicting_modes_are_named() -> None:
    with pytest.raises(BadFlags, match=r"mode\['qa'\]='native' conflicts with native_percent\['qa'\]=5"):
        Flags(mode={"qa": "native"}, native_percent={"qa": 5})


def test_flags_go_to_json_and_back() -> None:
    flags = Flags(
        use_legacy_optimizer=True,
        native_percent={"a": 5},
        mode={"qa": "shadow"},
        features={"react": "legacy"},
        require={"qa": Requirement(latency_s=2, usd=0.1, explore=0)},
    )
    assert Flags(**flags.to_dict()) == flags


ALL = {
    "flags.toml": """
use_native_signatures = false
use_legacy_optimizer = true
[features]
react = "legacy"
"qa/react" = "native"
[require]
qa = "p95<2s"
mood = { usd = 0.01, min_samples = 5 }
""",
    "flags.json": """{"use_native_signatures": false, "use_legacy_optimizer": true,
"features": {"react": "legacy", "qa/react": "native"}, "require": {"qa": "p95<2s", "mood": {"usd": 0.01, "min_samples": 5}}}""",
    "flags.yaml": """
use_native_signatures: false
use_legacy_optimizer: true
features: {react: legacy, qa/react: native}
require: {qa: p95<2s, mood: {usd: 0.01, min_samples: 5}}
""",
}


@pytest.mark.parametrize("name", ALL)
def test_a_file_holds_all_of_them(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(ALL[name])
    assert flags_from_file(tmp_path / name) == Flags(
        use_native_signatures=False,
        use_legacy_optimizer=True,
        features={"react": "legacy", "qa/react": "native"},
        require={"qa": Requirement(latency_s=2), "mood": Requirement(usd=0.01, min_samples=5)},
    )


def test_the_environment_holds_all_of_them_and_is_on_record() -> None:
    environ = {
        "DSPEX_FLAG_USE_NATIVE_SIGNATURES": "off",
        "DSPEX_FLAG_USE_LEGACY_OPTIMIZER": "yes",
        "DSPEX_FLAG_FEATURES": "react=legacy, qa/react=native",
        "DSPEX_FLAG_REQUIRE": "qa=p95<800ms and usd<0.01",
    }
    store = FlagStore(Flags(fallback_to_legacy=False))
    read_environment(store, environ)
    assert store.current == Flags(
        fallback_to_legacy=False,
        use_native_signatures=False,
        use_legacy_optimizer=True,
        features={"react": "legacy", "qa/react": "native"},
        require={"qa": Requirement(latency_s=0.8, usd=0.01)},
    )
    assert [(change.by, change.number) for change in store.history] == [("environment", 1)]
    assert flags_from_environment(environ, Flags(fallback_to_legacy=False)) == store.current
    with pytest.raises(BadFlags, match="did you mean 'use_native_signatures'"):
        flags_from_environment({"DSPEX_FLAG_USE_NATIVE_SIGNATURE": "1"})
