"""Every event that is emitted is in the catalogue, everything in the catalogue is emitted, and a test sees each happen."""

from __future__ import annotations

from pathlib import Path

import event_catalogue
import pytest
from event_catalogue import PAGE, ROOMS, ROOT, catalogue, emitted, listed, page


@pytest.mark.parametrize("room", ROOMS)
def test_the_catalogue_lists_what_is_emitted_and_nothing_else(room: str) -> None:
    names = [entry.name for entry in catalogue(room)]
    assert len(names) == len(set(names)), "an event is listed twice"
    found = emitted(room)
    missing = {name: module for name, module in found.items() if name not in names}
    assert not missing, f"list these in the docstrings of their modules: {missing}"
    assert set(names) <= set(found), f"listed, but emitted nowhere: {sorted(set(names) - set(found))}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_event_says_what_data_it_has(room: str) -> None:
    assert [entry.name for entry in catalogue(room) if entry.data == "" and "stopped" not in entry.name] == []


def test_the_page_is_that_of_the_catalogue() -> None:
    assert PAGE.read_text() == page(), "run python tests/docs/event_catalogue.py"


@pytest.mark.parametrize("name", [entry.name for room in ROOMS for entry in catalogue(room)])
def test_some_test_sees_the_event_by_name(name: str) -> None:
    tests = [file for file in (ROOT / "tests").rglob("test_*.py") if file != Path(__file__)]
    assert any(f'"{name}"' in file.read_text() for file in tests)


def test_the_names_of_a_room_are_found_with_their_prefixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "room"
    room.mkdir()
    own = 'class A:\n def _emit(self, what):\n  self.rt.events.emit(f"room.a.{what}")\n def f(self):\n  self._emit("b")\n'
    (room / "own.py").write_text(own)
    (room / "heir.py").write_text('class B(A):\n def f(self):\n  self._emit("c")\n  self.stage.emit(5)\n')
    (room / "other.py").write_text("class C:\n def _emit(self, items): ...\n def f(self):\n  self._emit([1])\n")
    (room / "plain.py").write_text('def f(bus):\n bus.events.emit("room.d", x=1)\n')
    monkeypatch.setattr(event_catalogue, "ROOT", tmp_path)
    assert set(emitted("room")) == {"room.a.b", "room.a.c", "room.d"}
    (room / "vague.py").write_text("def f(bus, name):\n bus.events.emit(name)\n")
    with pytest.raises(AssertionError, match=r"vague.py:2: the name of an event is a literal"):
        emitted("room")


def test_lines_of_a_docstring_are_read_with_their_continuations() -> None:
    text = "Idea.\n\n    a.b    x, y    when it\n                   rains\n    a.c\n\nMore a.d text.\n    not_one\n"
    found = [(entry.name, entry.data, entry.when) for entry in listed("m.py", text)]
    assert found == [("a.b", "x, y", "when it rains"), ("a.c", "", "")]
