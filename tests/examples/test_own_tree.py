"""dspex as a child in somebody's tree: it is killed and comes back, and its neighbours go on."""

import re
import subprocess
import sys

import pytest
from services import EXAMPLES


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_shop_goes_on_while_dspex_is_killed_and_comes_back(backend: str) -> None:
    command = [sys.executable, "-W", "error", str(EXAMPLES / "own_tree.py"), "--backend", backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    printed = done.stdout
    assert done.returncode == 0, printed + done.stderr
    assert re.search(r"├── shelf  Shelf.*├── dspex .*└── clerk  Clerk", printed, re.DOTALL)
    assert re.findall(r"   (\S.*?\S)  +(\S.*)", printed.partition("clerk  Clerk")[2]) == [
        ("One lamp, please.", "Here you are; 1 left."),
        ("Do you have lamps?", "We have 1."),
        ("And another one.", "Here you are; 0 left."),
        ("A third, for my aunt.", "I am sorry, that was the last one."),
    ]
    assert "(dspex was killed)" in printed
    assert "4 questions to dspex; the shelf is at incarnation 1" in printed
    assert "left behind: 0 processes" in printed
    assert done.stderr == ""
