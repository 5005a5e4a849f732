"""Draws scripted state machines, from a seed, for Erlang's gen_statem and for ours.

    python scenarios.py > scenarios.jsonl          # what the tests replay
    python scenarios.py --terms > scenarios.terms  # the same for record.erl: erlc record.erl; erl -noshell -s record main

A scenario: the first state and actions, whether states are entered, the rules ``[state, event, next, actions]`` and how it
is driven. ``["enter", previous]`` is an event too. Sleeps are in half units, time-outs in whole units, so that no two things
are ever due at the same time.
"""

from __future__ import annotations

import json
import random
import sys

STATES = "abc"
EVENTS = ["e1", "e2", "e3", "e4"]
INSERTED = ["i1", "i2"]
CLOCKS = ["state", "event", "n1", "n2"]
CONTENTS = ["t1", "t2", "t3"]


def an_action(rng: random.Random, *, entering: bool, starting: bool = False) -> list[object] | str:
    kinds = ["set"] * 5 + ["update", "cancel"]
    if not entering:
        kinds += ["insert"] * 3
        if not starting:
            kinds += ["postpone"] * 4
    if not starting:
        kinds += ["reply"] * 2
    kind = rng.choice(kinds)
    if kind == "postpone":
        return kind
    if kind == "reply":
        return ["reply", rng.choice(["r1", "r2"])]
    if kind == "insert":
        return ["insert", rng.choice(INSERTED)]
    if kind == "set":
        return ["set", rng.choice(CLOCKS), rng.choice([0, 0, 1, 2, 3, "infinity"]), rng.choice(CONTENTS)]
    if kind == "update":
        return ["update", rng.choice(CLOCKS), rng.choice(CONTENTS)]
    return ["cancel", rng.choice(CLOCKS)]


def scenario(number: int) -> dict[str, object]:
    rng = random.Random(number)
    enter = rng.random() < 0.6
    rules = []
    for state in STATES:
        for event in EVENTS + INSERTED + CONTENTS:
            if rng.random() < 0.75:
                to = rng.choice(["keep", "keep", "repeat", *STATES, *STATES])
                if rng.random() < 0.02:
                    to = "stop"
                actions = [an_action(rng, entering=False) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
                rules.append([state, event, to, actions])
        if enter:
            for previous in STATES:
                if rng.random() < 0.6:
                    to = rng.choice(["keep"] * 8 + [state])
                    rules.append(
                        [
                            state,
                            ["enter", previous],
                            to,
                            [an_action(rng, entering=True) for _ in range(rng.randint(0, 2))],
                        ]
                    )
    drive: list[list[object]] = []
    for _ in range(rng.randint(4, 10)):
        kind = rng.choice(["cast", "cast", "call", "info", "sleep"])
        drive.append(["sleep", rng.choice([1, 3])] if kind == "sleep" else [kind, rng.choice(EVENTS)])
    # Half a unit in total, or time-outs and events would meet.
    drive.append(["sleep", 7])
    return {
        "id": number,
        "initial": rng.choice(STATES),
        "actions": [an_action(rng, entering=False, starting=True) for _ in range(rng.randint(0, 2))],
        "enter": enter,
        "rules": rules,
        "drive": drive,
    }


def handwritten() -> list[dict[str, object]]:
    """The rules one by one, as the manual words them."""

    def machine(
        rules: list[object], drive: list[object], *, enter: bool = False, actions: tuple[object, ...] = ()
    ) -> dict[str, object]:
        return {
            "initial": "a",
            "actions": list(actions),
            "enter": enter,
            "rules": rules,
            "drive": [*drive, ["sleep", 7]],
        }

    def cast(*events: str) -> list[object]:
        return [["cast", event] for event in events]

    cases = [
        # postponed events return in order, only when the state differs
        machine(
            [
                ["a", "e1", "keep", ["postpone"]],
                ["a", "e2", "keep", ["postpone"]],
                ["a", "e3", "a", []],
                ["a", "e4", "b", []],
            ],
            cast("e1", "e2", "e3", "e1", "e4"),
        ),
        # inserted before postponed before queued
        machine(
            [["a", "e1", "keep", ["postpone"]], ["a", "e2", "b", [["insert", "i1"], ["insert", "i2"]]]],
            cast("e1", "e2", "e3"),
        ),
        # an event postponed while the state changes is tried at once in the new state
        machine([["a", "e1", "b", ["postpone"]], ["b", "e1", "keep", [["insert", "i1"]]]], cast("e1", "e2")),
        # the state time-out stops when the state changes, and not when it is kept or repeated
        machine(
            [["a", "e1", "keep", [["set", "state", 2, "t1"]]], ["a", "e2", "repeat", []], ["a", "e3", "a", []]],
            [*cast("e1", "e2", "e3"), ["sleep", 5]],
            enter=True,
        ),
        machine(
            [["a", "e1", "keep", [["set", "state", 2, "t1"]]], ["a", "e2", "b", []]], [*cast("e1", "e2"), ["sleep", 5]]
        ),
        # the event time-out stops at any event, also an internal one and a postponed one
        machine([["a", "e1", "keep", [["set", "event", 2, "t1"]]]], [*cast("e1", "e2"), ["sleep", 5]]),
        machine([["a", "e1", "keep", [["set", "event", 2, "t1"], ["insert", "i1"]]]], [*cast("e1"), ["sleep", 5]]),
        machine([["a", "e1", "keep", [["set", "event", 0, "t1"], ["insert", "i1"]]]], [*cast("e1"), ["sleep", 5]]),
        machine(
            [["a", "e1", "keep", [["set", "event", 2, "t1"]]], ["a", "e2", "keep", ["postpone"]]], cast("e1", "e2")
        ),
        # 0: after what is queued inside, before the mailbox, in the order they were set
        machine(
            [["a", "e1", "keep", [["set", "state", 0, "t1"], ["set", "n1", 0, "t2"], ["insert", "i1"]]]],
            cast("e1", "e2"),
        ),
        machine([["a", "e1", "b", [["set", "state", 0, "t1"]]]], cast("e1", "e2")),
        machine(
            [["a", "e1", "keep", [["set", "state", 0, "t1"], ["set", "n1", 0, "t2"], ["set", "state", 0, "t3"]]]],
            cast("e1", "e2"),
        ),
        machine([["a", "e1", "keep", [["set", "n1", 0, "t2"], ["cancel", "n1"]]]], cast("e1", "e2")),
        machine([["a", "e1", "keep", [["set", "n1", 0, "t2"], ["update", "n1", "t3"]]]], cast("e1", "e2")),
        machine([["a", "e1", "keep", [["set", "n1", 0, "t2"], ["set", "n1", 1, "t3"]]]], cast("e1", "e2")),
        machine(
            [["a", "e1", "keep", [["set", "state", 0, "t1"], ["insert", "i1"]]], ["a", "i1", "b", []]], cast("e1", "e2")
        ),
        # update: of a running one, of none
        machine(
            [["a", "e1", "keep", [["set", "n1", 2, "t1"]]], ["a", "e2", "keep", [["update", "n1", "t2"]]]],
            [*cast("e1", "e2"), ["sleep", 5]],
        ),
        machine([["a", "e2", "keep", [["update", "n1", "t2"], ["update", "state", "t3"]]]], cast("e2", "e1")),
        # named time-outs live through changes of the state
        machine(
            [["a", "e1", "b", [["set", "n1", 2, "t1"], ["set", "n2", 1, "t2"]]], ["b", "e2", "a", []]], cast("e1", "e2")
        ),
        # entering: at the start, on change, on repeat; time-outs of the transition first, then those of the entering
        machine(
            [
                ["a", ["enter", "a"], "keep", [["set", "state", 1, "t1"]]],
                ["a", "e1", "b", [["set", "state", 0, "t2"]]],
                ["b", ["enter", "a"], "keep", [["set", "n1", 0, "t3"]]],
                ["b", "e2", "repeat", []],
                ["b", "e3", "b", []],
            ],
            cast("e1", "e2", "e3"),
            enter=True,
        ),
        machine(
            [["a", "e1", "b", [["insert", "i1"]]], ["b", ["enter", "a"], "keep", [["set", "state", 0, "t1"]]]],
            cast("e1", "e2"),
            enter=True,
        ),
        machine([["a", "e1", "keep", ["postpone"]], ["a", "e2", "repeat", []]], cast("e1", "e2", "e3"), enter=True),
        # the first actions
        machine(
            [],
            cast("e1"),
            actions=(
                ["insert", "i1"],
                ["set", "state", 0, "t1"],
                ["set", "n1", 1, "t2"],
            ),
        ),
        machine(
            [],
            cast("e1"),
            actions=(
                ["insert", "i1"],
                ["set", "state", 0, "t1"],
            ),
            enter=True,
        ),
        # entering may neither go on nor postpone nor insert
        machine([["b", ["enter", "a"], "c", []], ["a", "e1", "b", []]], cast("e1"), enter=True),
        machine([["b", ["enter", "a"], "keep", ["postpone"]], ["a", "e1", "b", []]], cast("e1"), enter=True),
        machine([["b", ["enter", "a"], "keep", [["insert", "i1"]]], ["a", "e1", "b", []]], cast("e1"), enter=True),
        machine([["b", ["enter", "a"], "b", []], ["a", "e1", "b", []]], cast("e1", "e2"), enter=True),
        machine([["b", ["enter", "a"], "repeat", []], ["a", "e1", "b", []]], cast("e1", "e2"), enter=True),
        machine([["b", ["enter", "a"], "stop", []], ["a", "e1", "b", []]], cast("e1", "e2"), enter=True),
        # calls: answered, postponed and answered, stop with a reply, dead with the machine
        machine(
            [
                ["a", "e1", "keep", [["reply", "r1"]]],
                ["a", "e2", "keep", ["postpone"]],
                ["b", "e2", "keep", [["reply", "r2"]]],
                ["a", "e3", "b", []],
            ],
            [["call", "e1"], ["call", "e2"], ["cast", "e3"]],
        ),
        machine(
            [["a", "e1", "keep", ["postpone"]], ["a", "e2", "stop", [["reply", "r1"]]]],
            [["call", "e1"], ["call", "e2"], ["call", "e3"]],
        ),
    ]
    return [{"id": 10000 + i, **case} for i, case in enumerate(cases)]


def all_scenarios() -> list[dict[str, object]]:
    return handwritten() + [scenario(number) for number in range(200)]


def term(value: object) -> str:
    if isinstance(value, list):
        if value and value[0] in (
            "set",
            "insert",
            "reply",
            "cancel",
            "update",
            "enter",
            "cast",
            "call",
            "info",
            "sleep",
        ):
            return "{" + ", ".join(map(term, value)) + "}"
        return "[" + ", ".join(map(term, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def terms(case: dict[str, object]) -> str:
    rules = ", ".join(f"{{{{{term(s)}, {term(e)}}}, {term(n)}, {term(a)}}}" for s, e, n, a in case["rules"])  # type: ignore[union-attr]
    fields = [
        term(case["id"]),
        term(case["initial"]),
        term(case["actions"]),
        term(case["enter"]),
        f"[{rules}]",
        term(case["drive"]),
    ]
    return "{" + ", ".join(fields) + "}."


if __name__ == "__main__":
    for case in all_scenarios():
        print(terms(case) if "--terms" in sys.argv else json.dumps(case))
