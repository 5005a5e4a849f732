"""The command line: `dspex`, or `python -m dspex.cli`."""

from .main import main

__all__ = ["main"]
