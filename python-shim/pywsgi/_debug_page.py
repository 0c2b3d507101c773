"""The page that `wsgi_debug` and `asgi_debug` show instead of nginx's own 500."""

from __future__ import annotations

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
    "pywsgi shows this because {directive} is on for this location. "
    "Do not use it on a site that others can reach."
)

# The limits in characters of a report, a line and the heading. Without them an exception could make
# a page that no browser can show.
_REPORT = 200_000
_LINE = 4_000
_TITLE = 500

# The first line of each kind of traceback, and the prefix of its further lines.
_TRACEBACKS = {
    "Traceback (most recent call last):": "",
    "  + Exception Group Traceback (most recent call last):": "  | ",
}


def page(report: str, request: str, wants_html: bool, directive: str) -> tuple[str, bytes]:
    """The media type and the body of a 500 that shows `report`, a traceback or a sentence.

    `request` is the method and the target, `directive` what has asked for the page. Nothing else
    of the request is shown: its headers may contain secrets.
    """
    title = _cut(_title(report), _TITLE)
    report = _cut("\n".join(_cut(line, _LINE) for line in report.split("\n")), _REPORT)
    request = _cut(request, _LINE)
    footer = _FOOTER.format(directive=directive)
    if not wants_html:
        text = f"{request}\n\n{report}\n\n{footer}\n"
        return "text/plain; charset=utf-8", _encoded(text)
    # Only now: the import takes time.
    import html

    text = _PAGE.format(
        title=html.escape(title),
        request=html.escape(request),
        report=html.escape(report),
        footer=html.escape(footer),
    )
    return "text/html; charset=utf-8", _encoded(text)


def _title(report: str) -> str:
    """The line of a traceback that names the exception, or the first line of other text.

    It is not the last line: a message may have several, and notes follow it.
    """
    lines = report.rstrip().split("\n")
    # The last one is the exception that was raised; those before it are its causes.
    start = max((at for at, line in enumerate(lines) if line in _TRACEBACKS), default=None)
    if start is None:
        return lines[0] or "Error"
    margin = _TRACEBACKS[lines[start]]
    texts = (line.removeprefix(margin) for line in lines[start + 1 :])
    # Frames, source lines and their marks are indented.
    return next((text for text in texts if not text.startswith("  ")), "Error")


def _cut(text: str, limit: int) -> str:
    """`text`, without its middle if it is too long.

    The beginning of a traceback shows where it was raised, its end what was raised last.
    """
    left_out = len(text) - limit
    if left_out <= 0:
        return text
    half = limit // 2
    return f"{text[:half]} [{left_out} characters are left out] {text[-half:]}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
