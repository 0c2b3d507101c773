"""The workflows of .github call make targets that exist, with variables of `make help`."""

from __future__ import annotations

import re
import shlex

import pytest
from harness import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"(?m)^([a-z-]+):[^=\n]*## ", MAKEFILE))
VARIABLES = {
    name for names in re.findall(r"(?m)^## ([A-Z_, ]+):", MAKEFILE) for name in names.split(", ")
}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_make(workflow):
    calls = re.findall(r"(?m)^ *- run: make (.+)$", workflow.read_text())
    assert calls
    for call in calls:
        target, *variables = shlex.split(re.sub(r"\$\{\{.*?\}\}", "x", call))
        assert target in TARGETS, call
        assert {variable.partition("=")[0] for variable in variables} <= VARIABLES, call
