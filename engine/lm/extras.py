"""SDKs are optional and slow to import, so they are imported here, on first use, and their absence has one error.

`import dspex` must cost a fraction of a second; `openai` alone costs about one second and `anthropic` two to three.
The first call to a provider therefore imports its SDK in a worker thread, and the event loop keeps turning meanwhile.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import anyio.to_thread

__all__ = ["MissingExtra", "require"]


class MissingExtra(ImportError):
    """An optional part of dspex was asked for and is not installed.

    Attributes:
        extra: name of the extra to install.
        name: the module that could not be imported (as on every ImportError).
    """

    def __init__(self, extra: str, *, module: str, purpose: str) -> None:
        self.extra = extra
        super().__init__(
            f'{purpose} needs the package "{module}". Install it with: pip install "dspex[{extra}]"', name=module
        )


async def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, off the event loop the first time.

    Raises:
        MissingExtra: the package is not installed. An ImportError from *inside* an installed package is passed on
            unchanged: a broken installation must not read as a missing one.
    """
    loaded = sys.modules.get(module)
    if loaded is not None:
        return loaded
    try:
        return await anyio.to_thread.run_sync(importlib.import_module, module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise MissingExtra(extra, module=module, purpose=purpose) from error
