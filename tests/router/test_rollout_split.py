"""The split of a rollout over 100,000 keys: within statistical bounds, independent between programs, one way only."""

from math import sqrt

import pytest
from dspex.router import Flags, RoutedProgram, decide, is_native, place

COUNT = 100_000
KEYS = [f"user-{number}" for number in range(COUNT)]
PROGRAMS = ["qa", "mood", "été/2"]


@pytest.fixture(scope="module")
def places() -> dict[str, list[float]]:
    return {program: [place(program, key) for key in KEYS] for program in PROGRAMS}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_percentage_is_met_within_four_standard_errors_and_the_ends_exactly(
    program: str, places: dict[str, list[float]]
) -> None:
    for percent in (0, 0.1, 1, 5, 25, 50, 75, 99, 99.9, 100):
        share = percent / 100
        native = sum(where < percent for where in places[program]) / COUNT
        assert abs(native - share) <= 4 * sqrt(share * (1 - share) / COUNT), percent


@pytest.mark.parametrize("program", PROGRAMS)
def test_places_are_even_by_chi_square(program: str, places: dict[str, list[float]]) -> None:
    cells = [0] * 100
    for where in places[program]:
        cells[int(where)] += 1
    expected = COUNT / 100
    # 99 degrees of freedom: 99.9 % of even spreads are below 149; the keys are fixed, so this is not a matter of luck.
    assert sum((seen - expected) ** 2 / expected for seen in cells) < 149


def test_two_programs_move_different_people_first(places: dict[str, list[float]]) -> None:
    both = sum(a < 30 and b < 20 for a, b in zip(places["qa"], places["mood"], strict=True)) / COUNT
    assert abs(both - 0.06) < 4 * sqrt(0.06 * 0.94 / COUNT)


def test_each_step_up_only_moves_keys_to_native() -> None:
    before: set[str] = set()
    for percent in (0, 1, 5, 10, 50, 99.5, 100):
        after = {key for key in KEYS[:5000] if is_native("qa", key, percent)}
        assert before <= after
        before = after
    assert before == set(KEYS[:5000])


def test_a_decision_is_the_place_of_the_key_and_nothing_else() -> None:
    program = RoutedProgram("qa", native="qa", legacy="pool")
    for percent in (0, 12.5, 100):
        flags = Flags(native_percent={"qa": percent})
        for key in KEYS[:500]:
            assert (decide(flags, program, key).engine == "native") == (place("qa", key) < percent)
