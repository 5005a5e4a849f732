"""What a command line names: `shop.app:app`, or `shop/app.py:app`; imported here, from the folder where one stands."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import final

from .ending import Unusable


@final
class ImportPath:
    """A module and a name in it. Making one makes the module importable; ends the command for what is no such path."""

    def __init__(self, text: str) -> None:
        module, colon, self.attribute = text.rpartition(":")
        if not colon or not module or not self.attribute:
            raise Unusable(f"{text!r} is no import path: write package.module:name, or folder/file.py:name")
        folder = Path.cwd()
        if module.endswith(".py") or os.sep in module:
            file = Path(module)
            if not file.is_file():
                raise Unusable(f"there is no file {module}: write package.module:name, or folder/file.py:name")
            # A file of a package is imported by its full name, from where the package lies: its relative imports work.
            folder, names = file.resolve().parent, [file.stem]
            while (folder / "__init__.py").exists():
                names.insert(0, folder.name)
                folder = folder.parent
            module = ".".join(name for name in names if name != "__init__")
        self.module = module
        self.folder = str(folder)
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)  # as `python -m` does

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"

    def load(self) -> object:
        """The object. Ends the command with what its module raises, whatever it is."""
        try:
            found: object = importlib.import_module(self.module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit of a script included
            said = f"{type(error).__name__}: {error}"
            hint = ""
            if isinstance(error, ModuleNotFoundError) and error.name and self.module.startswith(error.name):
                hint = f" It was looked for in {self.folder} and the installed packages."
            raise Unusable(f"{self.module} cannot be imported ({said}).{hint}") from error
        for part in self.attribute.split("."):
            try:
                found = getattr(found, part)
            except AttributeError as error:
                raise Unusable(f"{self.module} has no {part!r}") from error
        return found
