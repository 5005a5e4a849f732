"""The type checker knows the replies, and finds the mistakes, of what is built on actors."""

import json
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("typed_extras.py")


def test_replies_are_typed_and_wrong_arguments_are_found() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson", str(SOURCE)],
        capture_output=True,
        text=True,
        cwd=SOURCE.parent,
    )
    errors = [d for d in json.loads(done.stdout)["generalDiagnostics"] if d["severity"] == "error"]
    found = {d["range"]["start"]["line"] for d in errors}
    wanted = {i for i, line in enumerate(SOURCE.read_text().splitlines()) if "# MISTAKE" in line}
    assert found == wanted, [d["message"] for d in errors if d["range"]["start"]["line"] not in wanted]
