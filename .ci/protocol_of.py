"""protocol_of.py TARGET: prints the protocol of an application, wsgi or asgi, for `make run`.

Imports the application as a worker does, and looks at it without calling it.
What the application prints goes to standard error. Exits with 1 and the exception if the import
fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python-shim"))

from pywsgi._callable import protocol_of
from pywsgi._loader import Application
from pywsgi._stacks import format_exception


class Either(Application):
    """An application of either protocol."""

    def accept(self, what, application, factory=""):
        return application


def main() -> int:
    (target,) = sys.argv[1:]
    output = os.dup(1)
    os.dup2(2, 1)
    try:
        application = Either(target, has_home=sys.prefix != sys.base_prefix).load()
    except BaseException as error:
        print(format_exception(error), file=sys.stderr)
        return 1
    # If in doubt: the worker says what is wrong with it as WSGI.
    os.write(output, f"{protocol_of(application) or 'wsgi'}\n".encode())
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without waiting for threads of the application.
    os._exit(status)
