"""A report whose query is cancelled when its client disconnects.

`GET /?rows=N` counts to N in SQLite. Disconnect before the answer (Ctrl-C in curl): the query is
interrupted, and the error log says so.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

from pywsgi import Request

QUERY = """
    WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
    SELECT count(*), sum(n) FROM number
"""


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    rows = int(parse_qs(environ["QUERY_STRING"]).get("rows", ["1000"])[0])
    # The callback runs on another thread.
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    # None in other servers.
    request: Request | None = environ.get("pywsgi.request")
    if request is not None:
        request.on_disconnect(connection.interrupt)
    try:
        count, total = connection.execute(QUERY, (rows,)).fetchone()
    except sqlite3.OperationalError as error:
        # The client has disconnected: nobody reads this response.
        print(f"the query was cancelled: {error}", file=sys.stderr)
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"cancelled\n"]
    finally:
        connection.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{count} rows, {total} in all\n".encode()]
