"""`dspex status`: a running application, as it sees itself."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .control_client import ask, find_socket
from .screen import console

if TYPE_CHECKING:
    from rich.console import Console, Group

Told = Mapping[str, Any]


@click.command()
@click.option("--socket", metavar="PATH", help="Its control socket, where several applications run.")
@click.option("--watch", is_flag=True, help="Look again, until Ctrl-C; on a terminal in place.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the answer as JSON (schema in docs/cli.md); with --watch one a line."
)
def status(socket: str | None, watch: bool, interval: float, as_json: bool) -> None:
    """Show what a running application does: its supervision tree, pools, flags, and rates.

    The application is one that `dspex run` keeps open, or one of yours with `Dspex(control=...)`. The one that runs is
    found by itself; of several, name the socket by --socket or DSPEX_CONTROL. Only the user that it runs as is answered,
    and root. Nothing is changed by looking.

    Rates are of the last minute; latencies and shares of all requests since the application was made.

    \b
    Exit status: 0; 1 if the application is not ready (a probe: `dspex status --json > /dev/null`); 2 for a wrong command
    line, or when nobody answers.

    \b
    Examples:
      dspex status
      dspex status --watch
      dspex status --json | jq .statistics.native_share
    """
    path = find_socket(socket)
    told = ask(path, "status")
    if not watch:
        click.echo(json.dumps(told, indent=2)) if as_json else console().print(_shown(told))
        sys.exit(0 if told["app"]["phase"] == "ready" else 1)
    try:
        if as_json or not sys.stdout.isatty():
            _each(path, told, interval, as_json)
        else:
            _in_place(path, told, interval)
    except KeyboardInterrupt:
        sys.exit(0)


def _each(path: str, told: Told, interval: float, as_json: bool) -> None:
    while True:
        click.echo(json.dumps(told)) if as_json else console().print(_shown(told))
        sys.stdout.flush()
        time.sleep(interval)
        told = ask(path, "status")


def _in_place(path: str, told: Told, interval: float) -> None:
    from rich.live import Live

    screen: Console = console()
    with Live(_shown(told), console=screen, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(_shown(ask(path, "status")), refresh=True)


# --- what is shown --------------------------------------------------------------------------------------------------------


def _shown(told: Told) -> Group:
    from rich.console import Group
    from rich.text import Text

    app = told["app"]
    colour = {"ready": "green", "draining": "yellow"}.get(app["phase"], "red")
    head = Text.assemble(
        (app["phase"], f"bold {colour}"),
        f"  process {app['pid']}, up {_duration(app['uptime_s'])}, {app['under_way']} requests under way",
    )
    parts: list[Any] = [
        head,
        Text(),
        _rates(told),
        Text(),
        *_pools(told["pools"]),
        _flags(told["flags"]),
        Text(),
        _tree(told),
    ]
    return Group(*parts)


def _rates(told: Told) -> Any:
    from rich.table import Table
    from rich.text import Text

    numbers = told["statistics"]
    table = Table(box=None, pad_edge=False, title_justify="left")
    for title in ("program", "engine", "requests", "per second", "errors", "p50", "p95", "p99"):
        table.add_column(title, justify="left" if title in ("program", "engine") else "right")
    for program, engines in told["programs"].items():
        for engine in engines:
            arm = numbers["programs"].get(program, {}).get(engine)
            if arm is None:
                table.add_row(program, engine, "0", "", "", "", "", "")
                continue
            latency = arm["latency_s"]
            errors = f"{arm['error_rate']:.1%}"
            table.add_row(
                program,
                engine,
                str(arm["requests"]),
                f"{arm['rate']['requests_per_s']:.1f}" if "rate" in arm else "",
                Text(errors, style="red" if arm["failed"] else ""),
                *(_seconds(latency[name]) for name in ("p50", "p95", "p99")),
            )
    share = numbers["native_share"]
    table.caption = f"{numbers['requests']} requests" + ("" if share is None else f", {share:.1%} of them native")
    table.caption_justify = "left"
    return table


def _pools(pools: Sequence[Told]) -> list[Any]:
    from rich.text import Text

    lines: list[Any] = []
    for pool in pools:
        if "unknown" in pool:
            lines += [Text(f"{pool['name']}: {pool['unknown']}", style="yellow"), Text()]
            continue
        facts = (
            f"{len(pool['workers'])} of {pool['active']} workers up ({pool['start']}), {pool['running']} running, "
            f"{pool['waiting']} waiting, {pool['completed']} completed, {pool['failed']} failed, {pool['retried']} retried"
        )
        lines.append(Text.assemble((pool["name"], "bold"), "  ", facts))
        for worker in pool["workers"]:
            megabytes = f"{worker['rss_bytes'] / 2**20:.0f} MB" if worker["rss_bytes"] else "-"
            lines.append(
                Text(
                    f"  {worker['worker']}  {worker['state']}  process {worker['pid']}  dspy {worker['dspy']}  "
                    f"{worker['requests']} requests, {worker['failures']} failures, {megabytes}"
                )
            )
        if pool["open_circuits"]:
            lines.append(
                Text(f"  not given to workers for a while (they crashed): {', '.join(pool['open_circuits'])}", "red")
            )
        lines.append(Text())
    return lines


def _flags(told: Told) -> Any:
    from rich.text import Text

    shown = [flag_line(name, value) for name, value in told["values"].items() if value != {}]
    return Text.assemble(("flags", "bold"), f" (changed {told['changed_times']} times)  ", "  ".join(shown))


def flag_line(name: str, value: object) -> str:
    """A flag as `dspex flags set` takes it."""
    if isinstance(value, dict):
        table: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        return "  ".join(f"{name}.{key}={_flag_text(each)}" for key, each in table.items())
    return f"{name}={_flag_text(value)}"


def _flag_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        bound: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
        return _bound_text(bound)
    return str(value)


def _bound_text(bound: Mapping[str, object]) -> str:
    """A requirement, as it is written."""
    parts: list[str] = []
    if bound.get("latency_s") is not None:
        parts.append(f"p{bound.get('percentile', 95):g}<{bound['latency_s']:g}s")
    if bound.get("usd") is not None:
        parts.append(f"usd<{bound['usd']:g}")
    return " and ".join(parts)


def _tree(told: Told) -> Any:
    from rich.text import Text
    from rich.tree import Tree

    def label(node: Told) -> Text:
        text = Text.assemble((node["id"], "bold"))
        if node["kind"] and node["kind"] != node["id"]:
            text.append(f"  {node['kind']}")
        if node["state"] != "running":
            text.append(f"  {node['state']}", style="yellow")
        if node["incarnation"] > 1:
            text.append(f"  incarnation {node['incarnation']}", style="yellow")
        if node["detail"]:
            text.append(f"  {node['detail']}", style="dim")
        return text

    def grow(tree: Tree, node: Told) -> Tree:
        for child in node["children"]:
            grow(tree.add(label(child)), child)
        return tree

    return grow(Tree(label(told["tree"])), told["tree"])


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    return " ".join(f"{count} {unit}" for count, unit in units if count)[:20] or f"{seconds:.1f} s"
