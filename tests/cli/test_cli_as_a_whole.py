"""The command line as a whole: help that teaches and loads nothing, completion, colours, exit statuses."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_line import dspex, here
from dspex.cli import main
from dspex.cli.main import COMMANDS

HEAVY = ("dspex.engine", "dspex.legacy", "dspex.router", "dspex.migration", "httpx", "pydantic", "rich", "libcst", "openai")


def every() -> list[tuple[str, click.Command]]:
    """Each command, with those of groups."""
    found: list[tuple[str, click.Command]] = []
    with click.Context(main) as context:
        for name in main.list_commands(context):
            command = main.get_command(context, name)
            assert command is not None
            found.append((name, command))
            if isinstance(command, click.Group):
                found += [(f"{name} {each}", inner) for each, inner in command.commands.items()]
    return found


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["status", "--help"], ["flags", "set", "--help"]])
def test_help_loads_nothing_that_takes_time(arguments: list[str]) -> None:
    script = (
        "import sys\nfrom dspex.cli import main\n"
        f"try:\n    main({arguments!r}, prog_name='dspex')\n"
        "except SystemExit:\n    pass\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_the_line_of_each_command_is_that_of_its_own_help() -> None:
    for name, command in every():
        if name in COMMANDS:
            assert command.get_short_help_str(200) == COMMANDS[name].help, name


@pytest.mark.parametrize(("name", "command"), every(), ids=[name for name, _ in every()])
def test_the_help_of_each_command_has_examples_and_says_what_its_status_means(
    name: str, command: click.Command
) -> None:
    done = here(*name.split(), "--help")
    assert done.exit_code == 0
    assert "Examples:" in done.output
    for line in re.findall(r"^ +(dspex .*)$", done.output, re.MULTILINE):
        assert line.split()[1] in COMMANDS
    if not isinstance(command, click.Group):
        assert "Exit status" in done.output
        options = {option for each in command.params for option in each.opts}
        assert "--json" in options
        assert all(each.help for each in command.params if isinstance(each, click.Option))


def test_a_wrong_command_line_is_status_2_everywhere() -> None:
    for name, _ in every():
        assert here(*name.split(), "--no-such-option").exit_code == 2, name
    done = here("doktor")
    assert (done.exit_code, "No such command 'doktor'" in done.stderr) == (2, True)


def test_completion_offers_commands_their_options_and_choices() -> None:
    def offered(words: str, at: int) -> set[str]:
        env = {"_DSPEX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        done = CliRunner().invoke(main, [], env=env, prog_name="dspex")
        return {line.partition(",")[2] for line in done.output.split()}

    assert offered("dspex st", 1) == {"status"}
    assert offered("dspex flags ", 2) == {"get", "set", "history"}
    assert "--reason" in offered("dspex flags set --r", 3)
    assert offered("dspex run --loop t", 3) == {"trio"}


def test_colours_are_for_terminals_and_not_where_no_color_is_set(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text('import dspy\nqa = dspy.Predict("question -> answer")\n')

    def seen(**env: str) -> bytes:
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "dspex.cli", "check", str(tmp_path)]
        given = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        with subprocess.Popen(command, stdout=follower, stderr=follower, env={**given, "TERM": "xterm", **env}) as running:
            os.close(follower)
            parts: list[bytes] = []
            while True:
                try:
                    part = os.read(leader, 65536)
                except OSError:  # so the other end of a terminal is told
                    break
                if not part:
                    break
                parts.append(part)
            assert running.wait(120) in (0, 1)
        os.close(leader)
        return b"".join(parts)

    assert b"\x1b[" in seen()
    assert b"\x1b[3" not in seen(NO_COLOR="1")
    assert "\x1b" not in dspex("check", str(tmp_path)).stdout


def test_no_color_holds_for_what_is_written_without_rich(tmp_path: Path) -> None:
    @click.command()
    def shout() -> None:
        click.secho("loud", fg="red")

    group = click.Group("group", callback=main.callback, commands={"shout": shout})
    assert "\x1b" in CliRunner().invoke(group, ["shout"], color=True, env={"NO_COLOR": ""}).output
    assert "\x1b" not in CliRunner().invoke(group, ["shout"], color=None, env={"NO_COLOR": "1"}).output


def written() -> list[str]:
    """Every command line of ours in the documentation."""
    pages = [page.read_text(encoding="utf-8") for page in sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))]
    return [line for page in pages for line in re.findall(r"^\$ (dspex .*)$", page, re.MULTILINE)]


def test_the_documentation_has_every_command() -> None:
    said = {words[1] for words in map(str.split, written())}
    assert set(COMMANDS) <= said
