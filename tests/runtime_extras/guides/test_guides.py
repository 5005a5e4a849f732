"""What the guides show works when it is pasted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[3] / "docs" / "runtime"
NAMES = ("state-machines", "registry-and-groups", "tasks", "pipelines")
BLOCKS = {
    f"{name}-{i}": block
    for name in NAMES
    for i, block in enumerate(re.findall(r"```python\n(.*?)```", (GUIDES / f"{name}.md").read_text(), re.DOTALL), 1)
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_program_of_the_guides_runs(name: str, tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(BLOCKS[name])
    done = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_each_guide_has_programs() -> None:
    assert {name.rpartition("-")[0] for name in BLOCKS} == set(NAMES)
