"""Imports an application with the Python that will run it, and says what it is.

Run as a script by `application.py`, in a process of its own: `look.py REQUEST DESCRIPTOR`. The
request is JSON, and so is the answer, which goes to that descriptor. If the application cannot be
imported, its traceback goes to the standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

# The package is imported from where this file is, and nothing else that is there is visible to the
# application.
_here = sys.path[0]
sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from pywsgi._callable import check, protocol_of  # noqa: E402
from pywsgi._loader import Application  # noqa: E402
from pywsgi._stacks import format_exception  # noqa: E402
from pywsgi._start import _extend_path  # noqa: E402
from pywsgi._target import LoadError, Reference  # noqa: E402
from pywsgi.command.choosing import choose  # noqa: E402
from pywsgi.command.naming import locate  # noqa: E402

del sys.path[0]


class Looked(Application):
    """An application of either protocol, whose callable may have any name."""

    expression = ""

    def __init__(self, target: str, expression: str | None, factory: bool) -> None:
        super().__init__(target, has_home=True)
        self._named = expression
        self._is_factory = factory

    def _find(
        self, module: ModuleType, wanted: Sequence[str], fresh: bool
    ) -> tuple[Reference, Any]:
        chosen = self._named or choose(module, self._is_factory)
        if self._is_factory and not chosen.endswith(")"):
            chosen += "()"
        self.expression = chosen
        return super()._find(module, (chosen,), fresh)

    def accept(self, what: str, application: Any, factory: str = "") -> Any:
        self.protocol = protocol_of(application) or "wsgi"
        return check(what, application, self.protocol, factory)


def look(request: dict[str, Any]) -> dict[str, Any]:
    """Where the application is, which protocol it has, and how it is called."""
    os.chdir(request["directory"])
    place = locate(request["target"], request["directory"], os.environ)
    folders = [*request["path"], *([place.folder] if place.folder else [])]
    _extend_path(folders)
    named = place.expression
    target = place.target(named) if named else place.place
    application = Looked(target, named, request["factory"])
    application.load()
    return {
        "target": place.target(application.expression),
        "protocol": application.protocol,
        "folder": place.folder,
    }


def explain(error: BaseException, target: str | None) -> tuple[str, str]:
    """The application's traceback, if it has one, and one line that says what to do."""
    cause = error
    # What the module would say of it in nginx's log is about nginx's directives.
    while isinstance(cause, LoadError) and isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(cause, LoadError):
        return "", str(cause)
    what = f"the application cannot be imported: {type(cause).__name__}"
    if not isinstance(cause, ModuleNotFoundError) or not cause.name:
        return format_exception(cause), what
    missing = cause.name.partition(".")[0]
    if f"{target}:".startswith((f"{cause.name}:", f"{cause.name}.")):
        return "", (
            f"there is no module {cause.name!r} in {os.getcwd()}: check the name, or say with"
            " --app-dir where it is"
        )
    hint = f"install {missing} in {sys.prefix}, or name its environment with --venv"
    return format_exception(cause), f"{what}: there is no module {cause.name!r}: {hint}"


def main() -> int:
    request, descriptor = json.loads(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)
    sys.argv = ["pywsgi"]
    try:
        answer = look(request)
    except BaseException as error:
        # Without this module's functions.
        while error.__traceback__ and error.__traceback__.tb_frame.f_globals is globals():
            error.__traceback__ = error.__traceback__.tb_next
        traceback, summary = explain(error, request["target"])
        if traceback:
            print(traceback, file=sys.stderr)
        answer = {"error": summary}
    os.write(descriptor, json.dumps(answer).encode())
    return 0


if __name__ == "__main__":
    status = 1
    try:
        status = main()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Without waiting for threads of the application.
        os._exit(status)
