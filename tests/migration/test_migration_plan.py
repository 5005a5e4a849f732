"""The plan: its order, its flags, its criteria."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path

import pytest
from dspex.migration import (
    BadStatistics,
    MigrationPlan,
    Verdict,
    check,
    plan_as_markdown,
    read_statistics,
    suggest_migration_path,
)
from dspex.router import AppStatistics, ArmStatistics, Flags, FlagStore, flags_from_mapping

PROGRAMS = """\
import dspy

class Inner(dspy.Module):
    def __init__(self):
        self.ask = dspy.Predict("a -> b")
    def forward(self, a):
        return self.ask(a=a)

class Outer(dspy.Module):
    def __init__(self):
        self.inner = Inner()
    def forward(self, a):
        return self.inner(a=a)

class Agent(dspy.Module):
    def __init__(self):
        self.agent = dspy.ReAct("q -> a", tools=[])
    def forward(self, q):
        return self.agent(q=q)

class Old(dspy.Module):
    def forward(self, q):
        dspy.Assert(q, "q")
        return dspy.Predict("q -> a")(q=q)

class Tuned(dspy.Module):
    def forward(self, q):
        return dspy.Flex("q -> a")(q=q)

class Unclear(dspy.Module):
    def forward(self, q):
        return getattr(dspy, q)

popular = dspy.ChainOfThought("question -> answer")
"""


def arm(requests: int, failed: int = 0, p95: float | None = None) -> ArmStatistics:
    return ArmStatistics(
        requests=requests,
        failed=failed,
        errors={"X": failed} if failed else {},
        shadowed=0,
        total_s=1.0,
        p50_s=p95,
        p95_s=p95,
        p99_s=p95,
        **{
            field.name: 0
            for field in dataclasses.fields(ArmStatistics)
            if field.name not in ("requests", "failed", "errors", "shadowed", "total_s", "p50_s", "p95_s", "p99_s")
        },
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "programs.py").write_text(PROGRAMS)
    (tmp_path / "train.py").write_text("import dspy\nopt = dspy.BootstrapFinetune()\n")
    return tmp_path


def order(plan: MigrationPlan) -> list[str]:
    return [each.name for each in plan.programs]


def test_what_is_used_comes_first_then_the_least_risk_and_edits_last(folder: Path) -> None:
    plan = suggest_migration_path(folder)
    names = order(plan)
    assert names.index("inner") < names.index("outer") < names.index("agent") < names.index("old")
    by_name = {each.name: each for each in plan.programs}
    assert by_name["outer"].after == ("inner",)
    assert (by_name["inner"].risk, by_name["agent"].risk) == ("low", "medium")
    assert "ReAct" in by_name["agent"].why[0]


def test_of_equal_risk_the_most_traffic_comes_first(folder: Path) -> None:
    quiet = suggest_migration_path(folder, statistics={"programs": {"Inner": {"legacy": vars_of(arm(10))}}})
    busy = suggest_migration_path(
        folder,
        statistics={"programs": {"popular": {"legacy": vars_of(arm(90))}, "inner": {"legacy": vars_of(arm(10))}}},
    )
    assert order(quiet)[0] == "Inner"  # as the statistics call it
    assert order(busy)[0] == "popular"
    (popular, *_) = busy.programs
    assert popular.traffic is not None
    assert popular.traffic.share == pytest.approx(0.9)


def vars_of(statistics: ArmStatistics) -> dict[str, object]:
    return {field.name: getattr(statistics, field.name) for field in dataclasses.fields(statistics)}


def test_what_stays_and_what_is_to_be_looked_at_says_why(folder: Path) -> None:
    plan = suggest_migration_path(folder)
    assert {(Path(rest.path).name, rest.program) for rest in plan.stays} == {("programs.py", "Tuned"), ("train.py", "")}
    assert [rest.program for rest in plan.look_at] == ["Unclear"]
    assert all(rest.reasons and rest.what for rest in [*plan.stays, *plan.look_at])


def test_every_stage_s_flags_are_taken_by_the_router_and_lead_from_legacy_to_native(folder: Path) -> None:
    plan = suggest_migration_path(folder)
    store = FlagStore(flags_from_mapping(plan.start))
    assert not store.current.use_native_predictors
    for program in plan.programs:
        for stage in program.stages:
            if stage.flags:
                store.replace(flags_from_mapping(stage.flags))
        modes = store.current.mode
        assert modes[program.name] == "native"
    assert set(store.current.mode.values()) == {"native"}
    assert Flags().changed(plan.start) is not None


def test_a_program_is_edited_converted_compared_rolled_out_and_then_native(folder: Path) -> None:
    by_name = {each.name: each for each in suggest_migration_path(folder).programs}
    assert [stage.action for stage in by_name["old"].stages] == [
        *("edit", "convert", "shadow"),
        *["rollout"] * 3,
        "native",
    ]
    percents = [
        stage.flags["native_percent"]["inner"] for stage in by_name["inner"].stages if stage.action == "rollout"
    ]
    assert percents == [10, 50]
    assert all(stage.until for stage in by_name["inner"].stages)


def test_statistics_are_those_of_an_application(folder: Path, tmp_path: Path) -> None:
    counted = AppStatistics({"popular": {"legacy": arm(1000, failed=20, p95=0.5)}, "gone": {"native": arm(5)}})
    file = tmp_path / "stats.json"
    file.write_text(
        json.dumps({"programs": {n: {e: vars_of(a) for e, a in arms.items()} for n, arms in counted.programs.items()}})
    )
    plan = suggest_migration_path(check([folder]), statistics=read_statistics(file))
    popular = next(each for each in plan.programs if each.name == "popular")
    (rollout, *_) = [stage for stage in popular.stages if stage.action == "rollout"]
    assert "errors at most 2.5 % (legacy 2.0 %), p95 at most 0.60 s (legacy 0.50 s)" in rollout.until
    assert plan.unknown_statistics == ("gone",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"programs": 3}',
        '{"programs": {"a": 3}}',
        '{"programs": {"a": {"legacy": {"requests": "many"}}}}',
    ],
)
def test_statistics_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "stats.json"
    file.write_text(text)
    with pytest.raises(BadStatistics, match=r"app\.stats\(\)"):
        read_statistics(file)
    with pytest.raises(BadStatistics):
        read_statistics(tmp_path / "gone.json")


def test_the_document_holds_flag_files_that_can_be_used(folder: Path) -> None:
    plan = suggest_migration_path(folder)
    text = plan_as_markdown(plan)
    blocks = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    assert len(blocks) > 10
    for block in blocks:
        lines = "\n".join(line.strip() for line in block.splitlines())
        assert isinstance(flags_from_mapping(tomllib.loads(lines)), Flags)
    for name in order(plan):
        assert f". {name}\n" in text
    assert "Stays in the legacy pool" in text


def test_names_for_flags_are_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("import dspy\nqa = dspy.Predict('a -> b')\nQA = dspy.Predict('a -> b')\n")
    names = order(suggest_migration_path(tmp_path))
    assert len(names) == len(set(names)) == 4


def test_programs_that_use_each_other_are_both_planned(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "import dspy\nclass A(dspy.Module):\n    def forward(self):\n        return B()\n"
        "class B(dspy.Module):\n    def forward(self):\n        return A()\n"
    )
    assert sorted(order(suggest_migration_path(tmp_path))) == ["a", "b"]


def test_the_plan_as_json_is_versioned(folder: Path) -> None:
    made = json.loads(json.dumps(suggest_migration_path(folder).to_json()))
    assert (made["schema"], made["version"]) == ("dspex.plan", 1)
    assert {each["verdict"] for each in made["programs"]} <= {Verdict.NATIVE.value, Verdict.CHANGES.value}
