"""Programs that nobody wrote: the corpus, mutated. Neither reading nor editing them fails, and an edit is Python and final."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from dspex.migration import check_text, convert
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from migration_corpus import CORPUS

SOURCES = [path.read_text() for path in sorted(CORPUS.rglob("*.py")) if path.read_text().strip()]
WORDS = sorted({word for source in SOURCES for word in re.findall(r"[A-Za-z_][\w.]*|[^\w\s]", source)})
LINES = sorted({line for source in SOURCES for line in source.split("\n")})
ODD = [
    "\0",
    "\ufeff",
    "\u2028",
    "\x0c",
    "\t",
    "\\\n",
    '"""',
    "(",
    "lambda: ",
    "await ",
    "async ",
    "*",
    "é",
    "match x:\n case ",
    ":=",
]


@st.composite
def programs(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SOURCES))
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["word", "line", "insert", "drop", "double", "join", "cut", "indent", "odd"]))
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        if kind == "word":
            found = re.findall(r"[A-Za-z_][\w.]*", lines[at])
            if found:
                lines[at] = lines[at].replace(draw(st.sampled_from(found)), draw(st.sampled_from(WORDS)))
        elif kind == "line":
            lines[at] = draw(st.sampled_from(LINES))
        elif kind == "insert":
            indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
            lines.insert(at, indent + draw(st.sampled_from(LINES)).lstrip())
        elif kind == "drop":
            del lines[at]
        elif kind == "double":
            lines.insert(at, lines[at])
        elif kind == "join":
            lines += draw(st.sampled_from(SOURCES)).split("\n")
        elif kind == "cut":
            lines = lines[: at + 1]
        elif kind == "indent":
            lines[at] = "    " + lines[at]
        else:
            place = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:place] + draw(st.sampled_from(ODD)) + lines[at][place:]
        text = "\n".join(lines)
        if not text:
            break
    return text


FUZZ = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@FUZZ
@given(programs())
def test_check_reads_everything(text: str) -> None:
    report = check_text(text)
    report.to_json()
    assert [use for file in report.files for use in file.uses if use.rule == "failed"] == []
    if "dspy" in text:
        try:
            ast.parse(text.encode("utf-8", "surrogatepass"))
        except (SyntaxError, ValueError):
            assert [file.verdict.value for file in report.files] == ["unknown"]


@FUZZ
@given(programs(), st.booleans(), st.booleans())
def test_a_conversion_is_python_and_is_made_once(text: str, to_async: bool, partly: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(text, encoding="utf-8", newline="")
        made = convert([path], to_async=to_async, partly=partly)
        for file in made.files:
            if file.state == "converted":
                ast.parse(file.after)
                assert b"import dspy\n" not in file.after
            else:
                assert file.after == file.before
                assert file.reasons or file.state == "already"
        made.write()
        again = convert([path], to_async=to_async, partly=partly)
        assert again.of("converted") == ()
