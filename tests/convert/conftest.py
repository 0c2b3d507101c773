"""`pywsgi convert`, from the tree: it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

from harness import PROJECT

sys.path.insert(0, str(PROJECT / "python-shim"))
sys.path.insert(0, str(Path(__file__).parent))
