"""The edit of one file: its imports of dspy name the engine, and calls that were chosen are awaited. Nothing else moves.

By LibCST, which keeps every space and comment. What is written in a form that has no exact counterpart raises `LeaveIt`
with the reason, and the file stays as it is.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Final, cast, final

from . import offers

__all__ = ["Asked", "LeaveIt", "Span", "rewrite"]

Span = tuple[int, int, int, int]
"""A node by its place: first and last line from 1, columns from 0 in characters."""

LONGEST: Final = 1_000_000
"""Characters; LibCST takes minutes for a file of 5 MB, which is data rather than a program."""

DEEPEST: Final = 150
"""Levels of nesting; LibCST uses a few frames of Python's stack for each."""

_BESIDE: Final = frozenset({"ColBERTv2"})
"""Names that may stay dspy's in a converted file: clients that take and give plain data."""


class LeaveIt(Exception):
    """The file is not touched; the message says why."""


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted beside the imports."""

    awaited: frozenset[Span] = frozenset()
    """Calls that become `await x.acall(...)`."""
    helpers: frozenset[Span] = frozenset()
    """Calls of methods that become async: `await self.hop(...)`."""
    functions: frozenset[Span] = field(default=frozenset())
    """Functions that become async; by the place of their name's line and column, `(line, column, 0, 0)`. `forward` is
    called `aforward` then."""


def rewrite(text: str, asked: Asked) -> str:
    """The new text.

    Raises:
        LeaveIt: it has something that is not understood.
        MissingExtra: (an ImportError) libcst is not installed.
    """
    libcst = _libcst()
    if len(text) > LONGEST:
        raise LeaveIt(f"it is longer than {LONGEST:,} characters: change its imports by hand")
    if _depth(ast.parse(text)) > DEEPEST:
        raise LeaveIt(f"it is nested more than {DEEPEST} levels deep")
    try:
        module = libcst.parse_module(text)
        if module.code != text:
            raise LeaveIt("it cannot be written back as it is")
        if asked == Asked():  # where things stand does not matter then, and finding it out takes half of the time
            changed = module.visit(_transformer(asked))
        else:
            wrapper = libcst.MetadataWrapper(module, unsafe_skip_copy=True)
            changed = wrapper.visit(_transformer(asked))
    except (libcst.ParserSyntaxError, RecursionError) as error:
        raise LeaveIt(f"it cannot be parsed for editing ({type(error).__name__})") from error
    return str(changed.code)


def _libcst() -> Any:
    try:
        import libcst
        import libcst.metadata
    except ImportError as error:
        from ..engine import MissingExtra

        raise MissingExtra("migration", module="libcst", purpose="dspex convert") from error
    libcst.MetadataWrapper = libcst.metadata.MetadataWrapper  # type: ignore[attr-defined]
    return libcst


def _depth(tree: ast.AST) -> int:
    deepest = 0
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]
    return deepest


def _transformer(asked: Asked) -> Any:
    import libcst as cst
    from libcst.metadata import CodeRange, PositionProvider

    plain = asked == Asked()

    class Rewriter(cst.CSTTransformer):
        METADATA_DEPENDENCIES = () if plain else (PositionProvider,)

        def _span(self, node: cst.CSTNode) -> Span:
            place = cast("CodeRange", self.get_metadata(PositionProvider, node))
            return place.start.line, place.start.column, place.end.line, place.end.column

        # -- imports -------------------------------------------------------------------------------------------------

        def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import:
            return updated_node.with_changes(names=[self._module(alias) for alias in updated_node.names])

        def _module(self, alias: cst.ImportAlias) -> cst.ImportAlias:
            name = _written(alias.name)
            if name.partition(".")[0] != "dspy":
                return alias
            path = tuple(name.split(".")[1:])
            if alias.asname is None:  # binds `dspy`, whatever is below it
                new = offers.new_module(())
                named = cst.AsName(cst.Name("dspy"), cst.SimpleWhitespace(" "), cst.SimpleWhitespace(" "))
                return alias.with_changes(name=_name(cst, str(new)), asname=named)
            new = offers.new_module(path)
            if new is None:
                raise LeaveIt(
                    f"`import {name} as ...`: the engine's {name} has another layout; import the names from dspy"
                )
            return alias.with_changes(name=_name(cst, new))

        def leave_SimpleStatementLine(
            self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
        ) -> Any:
            if not any(_of_dspy(statement) for statement in updated_node.body):
                return updated_node
            made: list[list[cst.BaseSmallStatement]] = [
                self._from(cast("cst.ImportFrom", statement)) if _of_dspy(statement) else [statement]
                for statement in updated_node.body
            ]
            if all(len(each) == 1 for each in made):
                return updated_node.with_changes(body=[each[0] for each in made])
            if len(made) > 1:
                raise LeaveIt("an import that must be taken apart stands on a line with other statements")
            (parts,) = made
            first = updated_node.with_changes(body=[parts[0]], trailing_whitespace=_bare_end(cst, updated_node))
            rest = [updated_node.with_changes(body=[part], leading_lines=[]) for part in parts[1:-1]]
            last = updated_node.with_changes(body=[parts[-1]], leading_lines=[])
            return cst.FlattenSentinel([first, *rest, last])

        def _from(self, node: cst.ImportFrom) -> list[cst.BaseSmallStatement]:
            place = _written(node.module)
            path = tuple(place.split(".")[1:])
            if isinstance(node.names, cst.ImportStar):
                new = offers.new_module(path)
                if new is None:
                    raise LeaveIt(
                        f"`from {place} import *`: the engine's {place} has another layout; import the names you use"
                    )
                return [node.with_changes(module=_name(cst, new))]
            aliases = list(node.names)
            homes = [self._home(path, _written(alias.name)) for alias in aliases]
            if len(set(homes)) == 1:
                return [node.with_changes(module=_name(cst, homes[0]))]
            if "#" in cst.Module([]).code_for_node(node):
                raise LeaveIt(f"`from {place} import ...` has comments in it and must be taken apart")
            return [
                node.with_changes(
                    module=_name(cst, home),
                    names=_list(cst, [alias for alias, its in zip(aliases, homes, strict=True) if its == home]),
                    lpar=None,
                    rpar=None,
                )
                for home in dict.fromkeys(homes)
            ]

        def _home(self, path: tuple[str, ...], name: str) -> str:
            if name in _BESIDE and offers.judge((*path, name)).target is None:
                return ".".join(["dspy", *path])
            home = offers.new_home((*path, name))
            if home is None:
                raise LeaveIt(f"`from {'.'.join(['dspy', *path])} import {name}`: the engine's {name} is another thing")
            return home

        # -- calls and functions -------------------------------------------------------------------------------------

        def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
            if plain:
                return updated_node
            span = self._span(original_node)
            if span not in asked.awaited and span not in asked.helpers:
                return updated_node
            call = updated_node
            if span in asked.awaited:
                call = call.with_changes(func=cst.Attribute(_held(cst, call.func), cst.Name("acall")))
            # In parentheses: what follows the call, `.answer`, follows its result.
            return cst.Await(
                call.with_changes(lpar=[], rpar=[]),
                lpar=call.lpar or [cst.LeftParen()],
                rpar=call.rpar or [cst.RightParen()],
            )

        def leave_FunctionDef(self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef) -> cst.FunctionDef:
            if plain:
                return updated_node
            line, column, _, _ = self._span(original_node.name)
            if (line, column, 0, 0) not in asked.functions:
                return updated_node
            name = cst.Name("aforward") if updated_node.name.value == "forward" else updated_node.name
            return updated_node.with_changes(name=name, asynchronous=cst.Asynchronous(cst.SimpleWhitespace(" ")))

    return Rewriter()


def _written(node: Any) -> str:
    """A dotted name as text; "" for none."""
    parts: list[str] = []
    while node is not None and hasattr(node, "attr"):
        parts.append(node.attr.value)
        node = node.value
    if node is None:
        return ""
    return ".".join([str(node.value), *reversed(parts)])


def _name(cst: Any, dotted: str) -> Any:
    first, *rest = dotted.split(".")
    made = cst.Name(first)
    for part in rest:
        made = cst.Attribute(made, cst.Name(part))
    return made


def _of_dspy(statement: Any) -> bool:
    if type(statement).__name__ != "ImportFrom" or statement.relative:
        return False
    return _written(statement.module).partition(".")[0] == "dspy"


def _list(cst: Any, aliases: list[Any]) -> list[Any]:
    made = [alias.with_changes(comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))) for alias in aliases]
    made[-1] = made[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return made


def _bare_end(cst: Any, line: Any) -> Any:
    """The end of a line without its comment, which stays on the last of the lines."""
    return cst.TrailingWhitespace(newline=line.trailing_whitespace.newline)


def _held(cst: Any, func: Any) -> Any:
    """What is called, so that an attribute can follow it."""
    if isinstance(func, cst.Name | cst.Attribute | cst.Call | cst.Subscript) or func.lpar:
        return func
    return func.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
