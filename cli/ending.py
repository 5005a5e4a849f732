"""How a command ends: the statuses that all of them share, and the error that says what to do next.

0: all is well. 1: what was looked for was found, or what was to hold does not. 2: the command could not do its work: a
wrong command line, something that cannot be read, started or reached.
"""

from __future__ import annotations

from typing import Final

import click

FOUND: Final = 1
UNUSABLE: Final = 2


class Unusable(click.ClickException):
    """The command cannot do its work; the message says why, and what to do."""

    exit_code = UNUSABLE
