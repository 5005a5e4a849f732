"""Python in Deno: the same answers as from the locked process, and no way out. Needs Deno and a copy of Pyodide."""

import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from dspex.engine import CodeExecutionError, CodeInterpreterError, DenoInterpreter, FinalOutput, SandboxLimits

DENO = os.environ.get("DSPEX_TEST_DENO") or next(
    (str(path) for path in (Path(sysconfig.get_path("scripts")) / "deno",) if path.is_file()), shutil.which("deno")
)
PYODIDE = os.environ.get("DSPEX_TEST_PYODIDE", "")

needs_deno = pytest.mark.skipif(
    not DENO or not PYODIDE,
    reason="needs Deno (pip install deno) and DSPEX_TEST_PYODIDE, the folder of the unpacked npm package `pyodide`",
)


@pytest.fixture(scope="module")
def deno() -> Iterator[DenoInterpreter]:
    def double(number: int, times: int = 1) -> int:
        return number * 2**times

    with DenoInterpreter(PYODIDE, DENO, tools={"double": double}) as interpreter:
        yield interpreter


@needs_deno
def test_it_answers_as_the_locked_process_does(deno: DenoInterpreter):
    assert deno.execute("1 + 1") == 2
    assert deno.execute("print('a')\nx = given", {"given": [1, {"k": "ß"}]}) == "a\n"
    assert deno.execute("x") == [1, {"k": "ß"}]
    assert deno.execute("double(3), double(number=3, times=2)") == [6, 12]
    assert deno.execute("SUBMIT({'answer': 4})") == FinalOutput({"output": {"answer": 4}})
    with pytest.raises(CodeExecutionError, match=r"ZeroDivisionError: \['division by zero'\]"):
        deno.execute("1/0")
    with pytest.raises(SyntaxError):
        deno.execute("def f(:")


@needs_deno
@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd')",
        "import js; js.Deno.readTextFileSync('/etc/passwd')",
        f"import js; js.Deno.readTextFileSync({PYODIDE + '/package.json'!r})",
        "import js; js.Deno.writeTextFileSync('/tmp/x', 'x')",
        "import js; js.Deno.env.toObject()",
        "import js; js.Deno.Command.new('true').outputSync()",
        "import js; js.Deno.listen(port=0)",
        "import socket; socket.create_connection(('127.0.0.1', 1))",
        "import ctypes; ctypes.CDLL('libc.so.6')",
    ],
)
def test_there_is_no_way_out(deno: DenoInterpreter, code: str):
    with pytest.raises(CodeExecutionError):
        deno.execute(code)


@needs_deno
def test_code_without_end_is_killed():
    with DenoInterpreter(PYODIDE, DENO, limits=SandboxLimits(seconds=0.2)) as interpreter:
        interpreter.start()
        with pytest.raises(CodeInterpreterError, match="exceeded execution timeout"):
            interpreter.execute("while True: pass")


def test_what_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(CodeInterpreterError, match="npm package `pyodide`: it lacks pyodide.mjs"):
        DenoInterpreter(tmp_path, tmp_path / "deno").start()
    for name in ("pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"):
        (tmp_path / name).touch()
    with pytest.raises(CodeInterpreterError, match="There is no Deno"):
        DenoInterpreter(tmp_path, tmp_path / "deno").start()
