"""The edit: exact, minimal, repeatable, and not made where it is not understood."""

from __future__ import annotations

import os
import stat
import subprocess
import textwrap
from pathlib import Path

import pytest
from dspex.migration import ConversionFailed, ConvertedFile, NothingToRead, convert


def converted(folder: Path, source: str, *, to_async: bool = False, partly: bool = False) -> ConvertedFile:
    path = folder / "program.py"
    path.write_text(textwrap.dedent(source))
    (made,) = convert([path], to_async=to_async, partly=partly).files
    return made


EDITS = {
    "import dspy\n": "import dspex.engine as dspy\n",
    "import dspy as d  # short\n": "import dspex.engine as d  # short\n",
    "import os, dspy, sys\n": "import os, dspex.engine as dspy, sys\n",
    "import dspy.teleprompt\nx = dspy.teleprompt.LabeledFewShot\n": (
        "import dspex.engine as dspy\nx = dspy.teleprompt.LabeledFewShot\n"
    ),
    "import dspy.evaluate as ev\n": "import dspex.engine.evaluate as ev\n",
    "from dspy import Predict, Signature as S\n": "from dspex.engine import Predict, Signature as S\n",
    "from dspy import (\n    Predict,  # one\n\n    LM,\n)\n": (
        "from dspex.engine import (\n    Predict,  # one\n\n    LM,\n)\n"
    ),
    "from dspy.teleprompt import BootstrapFewShot\n": "from dspex.engine import BootstrapFewShot\n",
    "from dspy.predict import ChainOfThought\n": "from dspex.engine import ChainOfThought\n",
    "from dspy.predict.predict import Predict\n": "from dspex.engine import Predict\n",
    "from dspy.signatures.signature import ensure_signature\n": "from dspex.engine import ensure_signature\n",
    "from dspy.utils.dummies import DummyLM, dotdict\n": None,
    "from dspy.evaluate.metrics import EM\n": "from dspex.engine.evaluate.metrics import EM\n",
    "from dspy.evaluate import Evaluate, SemanticF1  # both\n": (
        "from dspex.engine import Evaluate\nfrom dspex.engine.evaluate import SemanticF1  # both\n"
    ),
    "from dspy import evaluate\n": "from dspex.engine import evaluate\n",
    "from dspy import *\nx = Predict('a -> b')\n": "from dspex.engine import *\nx = Predict('a -> b')\n",
    "from dspy.teleprompt import *\n": "from dspex.engine.teleprompt import *\n",
    "if True:\n\timport dspy\n": "if True:\n\timport dspex.engine as dspy\n",
    "import dspy; x = dspy.LM\n": "import dspex.engine as dspy; x = dspy.LM\n",
    "def f():\n    from dspy import LM\n    return LM\n": "def f():\n    from dspex.engine import LM\n    return LM\n",
    "try:\n    import dspy\nexcept ImportError:\n    dspy = None\n": (
        "try:\n    import dspex.engine as dspy\nexcept ImportError:\n    dspy = None\n"
    ),
    "import dspy \\\n  as d\n": "import dspex.engine \\\n  as d\n",
}


@pytest.mark.parametrize("before", EDITS)
def test_an_import_becomes_native_and_runs(tmp_path: Path, before: str) -> None:
    after = EDITS[before]
    made = converted(tmp_path, before)
    if after is None:
        assert made.state == "left"
        return
    assert made.reasons == ()
    assert made.after.decode() == after
    names: dict[str, object] = {}
    exec(compile(made.after, "converted", "exec"), names)
    made.write()
    again = convert([tmp_path]).files
    assert [file.state for file in again] == ["already"]


LEFT = {
    "import dspy\ndspy.Assert(True)\n": "neither dspy 3.4",
    "import dspy\nx = getattr(dspy, name)\n": "only known when the program runs",
    "import dspy.predict as p\nx = p.Predict\n": "another layout",
    "from dspy.predict import *\n": "another layout",
    "from dspy import predict\n": "another thing",
    "import importlib\nd = importlib.import_module('dspy')\nx = d.Predict\n": "by a text",
    "import dspy\nqa = dspy.Predict('a -> b')\nasync def f():\n    return qa(a=1)\n": "event loop",
    "import dspy\nx = " + "+".join(["1"] * 500) + "\n": "levels deep",
}


@pytest.mark.parametrize("before", LEFT)
def test_what_is_not_understood_is_left_with_the_reason(tmp_path: Path, before: str) -> None:
    made = converted(tmp_path, before)
    assert made.state == "left"
    assert made.before == made.after == before.encode()
    assert any(LEFT[before] in reason for reason in made.reasons), made.reasons
    made.write()
    assert (tmp_path / "program.py").read_text() == before


def test_a_file_that_needs_changes_is_converted_on_request_and_says_what_remains(tmp_path: Path) -> None:
    source = "import dspy\nlm = dspy.OpenAI(model='x')\nqa = dspy.Predict('a -> b')\n"
    made = converted(tmp_path, source, partly=True)
    assert made.state == "converted"
    assert made.after.decode() == source.replace("import dspy", "import dspex.engine as dspy")
    assert any("use dspy.LM" in reason for reason in made.reasons)


def test_a_client_that_gives_plain_data_may_stay_dspy_s(tmp_path: Path) -> None:
    source = "from dspy import ColBERTv2, Predict\nsearch = ColBERTv2(url='x')\nqa = Predict('a -> b')\n"
    made = converted(tmp_path, source)
    assert made.after.decode() in (
        "from dspy import ColBERTv2\nfrom dspex.engine import Predict\n"
        "search = ColBERTv2(url='x')\nqa = Predict('a -> b')\n",
        "from dspex.engine import ColBERTv2, Predict\nsearch = ColBERTv2(url='x')\nqa = Predict('a -> b')\n",
    )


def test_a_notebook_is_left_to_its_author(tmp_path: Path) -> None:
    (tmp_path / "n.ipynb").write_text('{"cells": [{"cell_type": "code", "source": "import dspy"}]}')
    (tmp_path / "p.py").write_text("import dspy\n")
    made = {Path(file.path).name: file for file in convert([tmp_path]).files}
    assert made["n.ipynb"].state == "left"
    assert "notebook" in made["n.ipynb"].reasons[0]
    assert made["p.py"].state == "converted"


ODD_BYTES = {
    "CRLF": b"import dspy\r\nx = dspy.LM\r\n",
    "mixed": b"import dspy\r\nx = dspy.LM\ny = 1\r\n",
    "no end": b"import dspy\nx = dspy.LM",
    "a mark": b"\xef\xbb\xbfimport dspy\n",
    "latin": b"# coding: latin-1\nimport dspy\nx = '\xfc'\n",
    "form feed": b"import dspy\n\x0c\nclass A: pass\n",
    "tabs and trailing space": b"import dspy   \n\nif 1:\n\tx = dspy.LM  \n\n\n",
    "wide text": "import dspy\nx = '日本語'; y = dspy.LM  # ü\n".encode(),
}


@pytest.mark.parametrize("content", ODD_BYTES.values(), ids=ODD_BYTES.keys())
def test_every_other_byte_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(content)
    (made,) = convert([path]).files
    assert made.state == "converted", made.reasons
    assert made.after == content.replace(b"import dspy", b"import dspex.engine as dspy")
    made.write()
    assert path.read_bytes() == made.after


def test_line_ends_that_cannot_be_kept_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(b"import dspy\rx = dspy.LM\r")
    (made,) = convert([path]).files
    assert made.state == "left"
    assert "written back" in made.reasons[0]


def test_the_mode_stays_and_a_link_still_leads_to_the_file(tmp_path: Path) -> None:
    target = tmp_path / "real.py"
    target.write_text("#!/usr/bin/env python\nimport dspy\n")
    target.chmod(0o750)
    link = tmp_path / "link.py"
    link.symlink_to(target)
    convert([link]).write()
    assert link.is_symlink()
    assert target.read_text() == "#!/usr/bin/env python\nimport dspex.engine as dspy\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o750
    assert sorted(os.listdir(tmp_path)) == ["link.py", "real.py"]


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    made = converted(tmp_path, "import dspy\n")
    (tmp_path / "program.py").write_text("import dspy\nmine = 1\n")
    with pytest.raises(ConversionFailed, match="has changed"):
        made.write()
    assert (tmp_path / "program.py").read_text() == "import dspy\nmine = 1\n"


def test_the_diff_can_be_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "a.py").write_text("import dspy\nqa = dspy.Predict('a -> b')")
    (tmp_path / "pkg" / "b.py").write_text("from dspy import LM\n")
    made = convert(["pkg"])
    subprocess.run(["git", "apply", "-"], input=made.diff(), text=True, check=True, timeout=60)
    assert {file.path: Path(file.path).read_bytes() for file in made.files} == {
        file.path: file.after for file in made.files
    }


def test_nothing_to_convert_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NothingToRead):
        convert([tmp_path / "gone.py"])


ASYNC = {
    "a predictor": (
        """
        import dspy

        class A(dspy.Module):
            def __init__(self):
                self.ask = dspy.Predict("q -> a")

            def forward(self, q):
                return self.ask(q=q).a  # here
        """,
        """
        import dspex.engine as dspy

        class A(dspy.Module):
            def __init__(self):
                self.ask = dspy.Predict("q -> a")

            async def aforward(self, q):
                return (await self.ask.acall(q=q)).a  # here
        """,
    ),
    "a call in an async function": (
        """
        import dspy

        qa = dspy.Predict("q -> a")

        async def f():
            return qa(q=(
                1
            ))
        """,
        """
        import dspex.engine as dspy

        qa = dspy.Predict("q -> a")

        async def f():
            return (await qa.acall(q=(
                1
            )))
        """,
    ),
    "methods that go along": (
        """
        import dspy

        class A(dspy.Module):
            def __init__(self):
                self.parts = {"x": dspy.Predict("q -> a")}

            def one(self, q):
                return self.parts["x"](q=q)

            def plain(self, q):
                return q

            def forward(self, qs):
                return [self.one(self.plain(q)) for q in qs]
        """,
        """
        import dspex.engine as dspy

        class A(dspy.Module):
            def __init__(self):
                self.parts = {"x": dspy.Predict("q -> a")}

            async def one(self, q):
                return (await self.parts["x"].acall(q=q))

            def plain(self, q):
                return q

            async def aforward(self, qs):
                return [(await self.one(self.plain(q))) for q in qs]
        """,
    ),
}


@pytest.mark.parametrize(("before", "after"), ASYNC.values(), ids=ASYNC.keys())
def test_programs_become_async(tmp_path: Path, before: str, after: str) -> None:
    made = converted(tmp_path, before, to_async=True)
    assert made.reasons == ()
    assert made.after.decode() == textwrap.dedent(after)
    made.write()
    (again,) = convert([tmp_path], to_async=True).files
    assert again.state == "already"


STAYS_SYNC = {
    "in a generator": "sum(self.ask(q=q).a for q in qs)",
    "in a lambda": "list(map(lambda q: self.ask(q=q), qs))",
    "in several": "self.ask.batch(qs)",
    "of an argument": "qs(q=1)",
    "of an attribute that is not known": "self.other.thing(q=1)",
}


@pytest.mark.parametrize("body", STAYS_SYNC.values(), ids=STAYS_SYNC.keys())
def test_a_program_that_cannot_be_made_async_keeps_its_forward(tmp_path: Path, body: str) -> None:
    source = f"""\
import dspy

class A(dspy.Module):
    def __init__(self):
        self.ask = dspy.Predict("q -> a")

    def forward(self, qs):
        self.ask(q=1)
        return {body}
"""
    made = converted(tmp_path, source, to_async=True)
    assert made.state == "converted"
    assert made.after.decode() == source.replace("import dspy", "import dspex.engine as dspy")
    assert any("A stays synchronous" in reason for reason in made.reasons)


def test_a_family_of_classes_becomes_async_together_or_not_at_all(tmp_path: Path) -> None:
    source = """\
import dspy

class A(dspy.Module):
    def __init__(self):
        self.ask = dspy.Predict("q -> a")

    def forward(self, q):
        return self.ask(q=q)

class B(A):
    def forward(self, q):
        return super().forward(q)
"""
    made = converted(tmp_path, source, to_async=True)
    assert made.after.decode() == source.replace("import dspy", "import dspex.engine as dspy")
    assert made.reasons
