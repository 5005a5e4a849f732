"""What is no program that can be read is reported, and never stops the rest."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from dspex.migration import (
    CheckReport,
    FileReport,
    NothingToRead,
    Verdict,
    check,
    check_text,
    convert,
    suggest_migration_path,
)

GOOD = "import dspy\nqa = dspy.Predict('a -> b')\n"


def only(report: CheckReport, name: str) -> FileReport:
    (found,) = [file for file in report.files if Path(file.path).name == name]
    return found


BROKEN = {
    "syntax.py": (b"import dspy\ndef f(:\n    pass\n", "syntax", "not Python 3"),
    "python2.py": (b"import dspy\nprint 'dspy'\n", "syntax", "not Python 3"),
    "except2.py": (b"import dspy\ntry:\n    pass\nexcept Exception, e:\n    pass\n", "syntax", "not Python 3"),
    "tabs.py": (b"import dspy\nif 1:\n\tx=1\n        y=2\n", "syntax", "not Python 3"),
    "nulls.py": (b"import dspy\n\0\0\0", "unreadable", "null bytes"),
    "binary.py": (bytes(range(256)) * 10 + b"dspy", "unreadable", "null bytes"),
    "utf16.py": ("import dspy\n".encode("utf-16"), "unreadable", "UTF-16"),
    "latin.py": (b"import dspy\nx = '\xfc'\n", "unreadable", "encoding"),
    "lies.py": (b"# -*- coding: klingon -*-\nimport dspy\n", "unreadable", "encoding"),
    "broken.ipynb": (b'{"cells": [ "dspy"', "unreadable", "JSON is broken"),
    "list.ipynb": (b'["dspy"]', "unreadable", "no notebook"),
    "empty.ipynb": (b'{"metadata": "dspy"}', "unreadable", "no list of cells"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_unknown_with_a_reason_and_the_others_are_judged(tmp_path: Path, name: str) -> None:
    content, rule, said = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "good.py").write_text(GOOD)
    report = check([tmp_path])
    broken = only(report, name)
    assert broken.verdict is Verdict.UNKNOWN
    assert [use.rule for use in broken.findings] == [rule]
    assert said in broken.findings[0].reason
    assert broken.findings[0].advice
    assert only(report, "good.py").verdict is Verdict.NATIVE
    left = [file for file in convert([tmp_path]).of("left") if Path(file.path).name == name]
    assert [file.before for file in left] in ([content], [b""])
    assert (tmp_path / name).read_bytes() == content


def test_python_2_is_told_apart() -> None:
    (file,) = check_text("import dspy\nprint 'x'\n").files
    assert "Python 2" in file.findings[0].advice
    assert file.findings[0].place.line == 2


def test_a_broken_file_without_a_word_of_dspy_is_nobody_s_affair(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("def f(:\n")
    (tmp_path / "good.py").write_text(GOOD)
    report = check([tmp_path])
    assert [Path(file.path).name for file in report.files] == ["good.py"]


def test_what_imports_a_broken_file_is_not_native(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("import dspy\nclass Base(dspy.Module:\n")
    (tmp_path / "program.py").write_text("import dspy\nfrom base import Base\nclass A(Base):\n    pass\n")
    assert only(check([tmp_path]), "program.py").verdict is Verdict.UNKNOWN


def test_other_encodings_and_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "latin.py").write_bytes(
        "# coding: latin-1\nimport dspy\nx = 'ü'\nqa = dspy.OpenAI()\n".encode("latin-1")
    )
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    (tmp_path / "crlf.py").write_bytes(GOOD.replace("\n", "\r\n").encode())
    (tmp_path / "cr.py").write_bytes(GOOD.replace("\n", "\r").encode())
    report = check([tmp_path])
    assert {Path(file.path).name: file.verdict for file in report.files} == {
        "latin.py": Verdict.CHANGES,
        "bom.py": Verdict.NATIVE,
        "crlf.py": Verdict.NATIVE,
        "cr.py": Verdict.NATIVE,
    }


def test_a_file_that_may_not_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.py"
    path.write_text(GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser reads everything: then the refusal is the kernel's in another way
        path.chmod(0o600)
        path.unlink()
        os.symlink("/proc/self/mem", path)
    found = only(check([tmp_path]), "secret.py")
    assert found.verdict is Verdict.UNKNOWN
    assert "cannot be read" in found.findings[0].reason


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "good.py").write_text(GOOD)
    (inner / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(inner)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "gone.py")
    report = check([tmp_path])
    assert len(report.files) == 1
    assert [problem.reason for problem in report.problems if problem.path.endswith("nowhere.py")] == [
        "the link leads nowhere"
    ]


def test_folders_that_are_not_the_program_s_are_left_out(tmp_path: Path) -> None:
    for folder in ("venv/lib", ".hidden", "node_modules", "build", "x.egg-info", "kept"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "p.py").write_text(GOOD)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pyvenv.cfg").write_text("")
    (tmp_path / "mine" / "p.py").write_text(GOOD)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "p.py").write_text(GOOD)
    found = check([tmp_path], exclude=["tests"]).files
    assert [Path(file.path).parent.name for file in found] == ["kept"]
    assert len(check([tmp_path / "venv"]).files) == 1


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingToRead, match="no such file"):
        check([tmp_path / "gone"])
    with pytest.raises(NothingToRead, match="no Python file"):
        check([tmp_path])
    with pytest.raises(NothingToRead, match="no path was given"):
        check([])


DEEP = {
    "sums": "x = " + "+".join(["a"] * 5000),
    "brackets": "x = " + "(" * 90 + "1" + ")" * 90,
    "too many brackets": "x = " + "[" * 3000 + "]" * 3000,
    "attributes": "x = a" + ".b" * 5000,
    "calls": "x = dspy" + ".f()" * 3000,
    "lambdas": "x = " + "lambda: " * 90 + "dspy.Predict",
    "blocks": "".join(" " * n + "if x:\n" for n in range(95)) + " " * 95 + "dspy.OpenAI()",
    "signs": "x = " + "-" * 5000 + "1",
    "names": "\n".join(f"x{n + 1} = x{n}" for n in range(1000)) + "\nx0 = dspy.Predict\nx1000('a -> b')",
    "branches": "\n".join(f"x{n + 1} = x{n} if x{n} else x{n}" for n in range(200))
    + "\nx0 = dspy.Predict\nx200('a -> b')",
    "circles": "a = b\nb = c\nc = a\na.x(b)\nasync def f():\n    return a(q=1)",
}


@pytest.mark.parametrize("source", DEEP.values(), ids=DEEP.keys())
def test_deep_and_circular_sources_end_and_are_never_wrongly_native(source: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.py"
    path.write_text(f"import dspy\n{source}\n")
    before = sys.getrecursionlimit()
    (file,) = check([path]).files
    assert file.uses
    (made,) = convert([path]).files
    assert made.state in ("converted", "left")
    assert made.state == "converted" or made.reasons
    assert sys.getrecursionlimit() == before


def test_a_large_file_is_read_in_reasonable_time_and_a_huge_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text(
        "import dspy\n" + "\n".join(f"q{n} = dspy.Predict('a -> b{n}')" for n in range(5000))
    )
    with (tmp_path / "huge.py").open("wb") as file:
        file.truncate(30 * 2**20)
    report = check([tmp_path])
    assert len(only(report, "large.py").programs) == 5000
    assert "larger than 20 MB" in only(report, "huge.py").findings[0].reason


def test_notebooks_are_read_cell_by_cell_with_magics(tmp_path: Path) -> None:
    def code(*lines: str) -> dict[str, object]:
        return {"cell_type": "code", "source": [f"{line}\n" for line in lines]}

    cells = [
        {"cell_type": "markdown", "source": "import dspy is text here"},
        code("%%time", "import dspy"),
        code("files = !ls", "x = %timeit 1", "%run other.py \\", "  more", "dspy.OpenAI?"),
        code("lm = dspy.OpenAI()"),
        {"cell_type": "code", "source": "qa = await dspy.Predict('a -> b').acall(a=1)"},
        code("%%bash", "dspy.Assert is no Python here ("),
        {"cell_type": "code"},
        "no cell at all",
    ]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "v3.ipynb").write_text(
        json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": "import dspy"}]}]})
    )
    report = check([tmp_path])
    found = only(report, "n.ipynb")
    assert [(use.place.cell, use.place.line, use.rule) for use in found.findings] == [(4, 1, "removed")]
    assert only(report, "v3.ipynb").verdict is Verdict.NATIVE


def test_ten_thousand_files_are_read_with_progress(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / f"p{folder}").mkdir()
        for number in range(100):
            text = GOOD if number == 0 else "import os\n"
            (tmp_path / f"p{folder}" / f"m{number}.py").write_text(text)
    told: list[tuple[int, int]] = []
    report = check([tmp_path], progress=lambda done, of: told.append((done, of)))
    assert (report.read, len(report.files)) == (10_000, 100)
    assert len(told) > 50
    assert told == sorted(told)
    assert told[-1] == (10_200, 10_200)


def test_a_source_that_is_neither_a_report_nor_paths_is_refused_by_name() -> None:
    for source in (None, 5, b"x", [None], object()):
        with pytest.raises(TypeError, match="report of check"):
            suggest_migration_path(source)  # type: ignore[arg-type]


def test_a_file_too_long_to_edit_is_left_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "table.py"
    path.write_text("import dspy\np = dspy.Predict('a -> b')\nx = '" + "a" * 1_000_001 + "'\n")
    (file,) = convert([path]).files
    assert file.state == "left"
    assert "longer than" in file.reasons[0]


def test_converting_tells_of_its_own_pass(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text("import dspy\np = dspy.Predict('a -> b')\n")
    told: list[tuple[int, int]] = []
    convert([path], progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (1, 1)


def test_a_name_that_walks_down_a_tree_is_followed_once() -> None:
    steps = "".join(f"    at = at['{number}']\n" for number in range(30))
    report = check_text(f"import dspy\ndef f(at):\n    at = {{}}\n{steps}    return dspy.Predict(at)\n")
    assert report.files[0].uses[0].name == "dspy"
