"""Every command line that the documentation shows is one that works: its options, its targets, its files and extras are there.

Running them would install things and start services, so that they are read instead: `dspex ...` by the command line
itself, `make ...` by the Makefile, `python FILE` by whether there is such a file, `pip install` by the extras it names.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest
from dspex.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^```(sh|console)[ \t]*\n(.*?)^```[ \t]*$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`((?:dspex|make) [^`\n]+)`(?!`)")
ASSIGNED = re.compile(r"[A-Z_]+=\S*")
OPERATORS = {"&&", "||", "|", ";", "&"}
OTHERS = {"cd", "eval", "git", "hypercorn", "kill", "mkdocs", "uvicorn"}
"""Programs that are not ours."""


def shown() -> Iterator[tuple[str, str, bool]]:
    """Where, what, and whether it is whole: each line of each block of shell, and each command that running text mentions."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        name = page.relative_to(ROOT).as_posix()
        for fence in FENCE.finditer(text):
            line = text[: fence.start()].count("\n") + 1
            for number, told in enumerate(fence[2].replace("\\\n", " \n").splitlines(), line + 1):
                if fence[1] == "sh":
                    yield f"{name}:{number}", told, True
                elif told.startswith("$ "):  # the rest of a console is what it answers
                    yield f"{name}:{number}", told.removeprefix("$ "), True
        outside = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
        for inline in INLINE.finditer(outside):
            yield f"{name}:{outside[: inline.start()].count(chr(10)) + 1}", inline[1], False


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of shell, without assignments before them and redirections behind."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    command: list[str] = []
    words = iter(lexer)
    for word in words:
        if word in OPERATORS:
            yield command
            command = []
        elif set(word) <= set("<>&"):
            next(words, None)
        elif command or not ASSIGNED.fullmatch(word):
            command.append(word)
    yield command


def problem(words: Sequence[str], *, whole: bool = True) -> str | None:
    """What is wrong with a command, if anything is. One that is not whole may lack its arguments."""
    if not words:
        return None
    program, *rest = words
    match Path(program).name, rest:
        case "dspex", _:
            return dspex(rest, whole=whole)
        case "make", _:
            targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            return next((f"no target {word}" for word in rest if "=" not in word and word not in targets), None)
        case "python", ["-m", "pip", *more]:
            return extras(more)
        case "python", ["-m", "dspex.cli", *more]:
            return dspex(more)
        case "python", [file, *_] if not file.startswith("-"):
            return None if (ROOT / file).exists() else f"no file {file}"
        case "pip", _:
            return extras(rest)
        case name, _:
            return None if name in OTHERS else f"{name} is no program that this test knows"


def extras(words: Sequence[str]) -> str | None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = [extra for word in words for extra in re.findall(r"^(?:dspex|\.)\[(.*)\]$", word)]
    return next((f"no extra {name}" for group in asked for name in group.split(",") if name not in known), None)


def dspex(words: Sequence[str], *, whole: bool = True) -> str | None:
    """Followed down the groups, then word by word: nothing is called, no path has to exist."""
    command: click.Command = main
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        if found is None:
            return f"no command {name}"
        command = found
    options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
    given = 0
    while rest:
        word, _, value = rest.pop(0).partition("=")
        if word in ("-h", "--help"):
            return None
        if word.startswith("-") and word != "-":
            option = options.get(word)
            if not isinstance(option, click.Option):
                return f"{command.name} has no option {word}"
            # Such a one as `--local` and `--local FILE`.
            if getattr(option, "_flag_needs_value", False) and (not rest or rest[0].startswith("-")):
                continue
            if not (option.is_flag or option.count or value):
                if not rest:
                    return f"{word} lacks its value"
                asked = rest.pop(0)
                if isinstance(option.type, click.Choice) and asked not in option.type.choices:
                    return f"{word} is one of {', '.join(map(str, option.type.choices))}, not {asked}"
        else:
            given += 1
    arguments = [argument for argument in command.params if isinstance(argument, click.Argument)]
    least = sum(argument.nargs for argument in arguments if whole and argument.required and argument.nargs > 0)
    if any(argument.nargs < 0 for argument in arguments):
        return None if given >= least else f"{command.name} lacks arguments"
    return None if least <= given <= sum(argument.nargs for argument in arguments) else f"{command.name} takes other arguments"


@pytest.mark.parametrize(("where", "line", "whole"), [pytest.param(*found, id=found[0]) for found in shown()])
def test_the_command_is_one_that_works(where: str, line: str, whole: bool) -> None:
    for command in commands(line):
        assert problem(command, whole=whole) is None, f"{where}: {' '.join(command)}: {problem(command, whole=whole)}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("dspex doctor --json", None),
        ("dspex doctor --model openai/gpt-4o-mini > found.json && dspex --version", None),
        ("dspex doctr", "no command doctr"),
        ("dspex doctor --modle x", "doctor has no option --modle"),
        ("dspex doctor --model", "--model lacks its value"),
        ("dspex doctor here", "doctor takes other arguments"),
        ("X=1 make test  # all of it", None),
        ("make tset", "no target tset"),
        ("python examples/rag.py --model m", None),
        ("python examples/rug.py", "no file examples/rug.py"),
        ('pip install -e ".[openai,legacy]"', None),
        ('pip install "dspex[opena]"', "no extra opena"),
        ("sudo reboot", "sudo is no program that this test knows"),
    ],
)
def test_a_command_that_does_not_work_is_noticed(line: str, wrong: str | None) -> None:
    assert next((found for command in commands(line) if (found := problem(command))), None) == wrong
