"""Finds `pywsgi.contrib` inside nginx.

The package is built into the module, without a folder, and always has the module's version.
`pywsgi.contrib` is for frameworks and their commands: pip installs it, and a project may have it in
its settings. It alone is taken from what is installed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

_NAME = "pywsgi.contrib"


class ContribFinder:
    """In `sys.meta_path`; looks at sys.path as it is at the import."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _NAME:
            return None
        for entry in sys.path:
            folder = os.path.join(os.path.abspath(entry), "pywsgi", "contrib")
            file = os.path.join(folder, "__init__.py")
            if os.path.isfile(file):
                return importlib.util.spec_from_file_location(
                    name, file, submodule_search_locations=[folder]
                )
        return None
