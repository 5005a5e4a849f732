"""Which extras of dspex are installed, by what its own metadata asks for: a new extra is looked at without being named here."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass

__all__ = ["PURPOSES", "Extra", "installed_extras"]

PURPOSES = {
    "openai": "LM('openai/...') and every server of that shape",
    "anthropic": "LM('anthropic/...')",
    "embeddings": "Embedder and what searches by vectors",
    "retrieval": "BM25 and FAISS retrieval",
    "optimizers": "MIPROv2 and GEPA",
    "migration": "dspex check and dspex convert",
    "legacy": "the real dspy in worker processes",
    "local": "a language model on this machine",
    "opentelemetry": "traces and metrics for OpenTelemetry",
    "openfeature": "flags from an OpenFeature provider",
    "prometheus": "metrics for Prometheus",
    "trio": "running on trio",
    "yaml": "flags in YAML files",
}
"""What each is needed for; another one is told by its name alone."""

_NOT_FOR_USERS = ("all", "dev")
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)(?:\[[^]]*\])?(?P<bounds>[^;]*);\s*extra == ["'](?P<extra>[\w-]+)["']""")
_BOUND = re.compile(r"(>=|<=|<|>|==)\s*([\d.]+)")


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra. `installed`: its packages that are there; `missing`, `unfit`: those that are not, or in another version."""

    name: str
    installed: tuple[str, ...]
    missing: tuple[str, ...]
    unfit: tuple[str, ...]


def installed_extras() -> list[Extra]:
    """All extras, in the order of their declaration; none where dspex runs from a folder that was never installed."""
    try:
        requirements = importlib.metadata.requires("dspex") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    packages: dict[str, list[tuple[str, str]]] = {}
    for requirement in requirements:
        found = _REQUIREMENT.fullmatch(requirement.strip())
        if found is not None and found["extra"] not in _NOT_FOR_USERS:
            packages.setdefault(found["extra"], []).append((found["name"], found["bounds"]))
    return [_look(name, wanted) for name, wanted in packages.items()]


def _look(name: str, wanted: list[tuple[str, str]]) -> Extra:
    installed: list[str] = []
    missing: list[str] = []
    unfit: list[str] = []
    for package, bounds in wanted:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
            continue
        if _fits(version, bounds):
            installed.append(f"{package} {version}")
        else:
            unfit.append(f"{package} {version} (wanted: {bounds.strip()})")
    return Extra(name, tuple(installed), tuple(missing), tuple(unfit))


def _fits(version: str, bounds: str) -> bool:
    own = _numbers(version)
    for sign, bound in _BOUND.findall(bounds):
        other = _numbers(bound)
        length = max(len(own), len(other))
        a, b = (numbers + (0,) * (length - len(numbers)) for numbers in (own, other))
        if not {">=": a >= b, "<=": a <= b, "<": a < b, ">": a > b, "==": a == b}[sign]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """(3, 4, 1) of "3.4.1.post2": as much as it takes to tell releases apart."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()
