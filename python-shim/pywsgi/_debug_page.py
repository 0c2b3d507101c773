"""The page that `wsgi_debug` shows instead of nginx's own 500."""

from __future__ import annotations

import html

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 70rem; }}
h1 {{ font-size: 1.25rem; color: #b3261e; overflow-wrap: anywhere; }}
pre {{ padding: 1rem; overflow-x: auto; border-left: 4px solid #b3261e; background: #8882; }}
pre, code {{ font: 14px/1.45 ui-monospace, monospace; }}
footer {{ font-size: .875rem; opacity: .8; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p><code>{request}</code></p>
<pre>{report}</pre>
<footer>{footer}</footer>
</body>
</html>
"""

_FOOTER = (
    "pywsgi shows this because wsgi_debug is on for this location. "
    "It is not for a site that others can reach."
)


def page(report: str, request: str, wants_html: bool) -> tuple[str, bytes]:
    """The media type and the body of a 500 that shows `report`, a traceback or a sentence.

    `request` is the method and the target, and nothing else of the request is shown: its headers
    may be a session's secrets.
    """
    if not wants_html:
        text = f"{request}\n\n{report}\n\n{_FOOTER}\n"
        return "text/plain; charset=utf-8", _encoded(text)
    lines = report.rstrip().split("\n")
    # The exception itself is the last line that is not one of its notes' continuation.
    title = next((line for line in reversed(lines) if line and not line.startswith(" ")), "Error")
    text = _PAGE.format(
        title=html.escape(title),
        request=html.escape(request),
        report=html.escape(report),
        footer=html.escape(_FOOTER),
    )
    return "text/html; charset=utf-8", _encoded(text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
