"""The values of options: what is typed, as what is meant. Each says what is wrong with another."""

from __future__ import annotations

import argparse
import re


def worker_class(text: str) -> str:
    name = text.rpartition(".")[2].lower()
    if text in ("sync", "gthread", "threads"):
        return "wsgi"
    if text == "asgi" or "uvicorn" in name:
        return "asgi"
    if name.startswith(("gevent", "eventlet", "gevent_wsgi", "tornado")):
        raise _wrong(
            f"{text} needs greenlets, which cannot run here: leave it out, and use --threads"
        )
    raise _wrong(f"{text!r} is unknown: leave it out")


def directories(text: str) -> list[str]:
    return [each for each in re.split("[,:]", text) if each]


def variable(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not equals or not name:
        raise _wrong(f"{text!r} is not NAME=VALUE")
    return text


def root_path(text: str) -> str:
    text = text.rstrip("/")
    if text and not text.startswith("/"):
        raise _wrong(f"{text!r} must begin with a slash")
    return text


def workers(text: str) -> str:
    # nginx's table of processes has room for 1024, and its helpers are some of them.
    if text != "auto" and positive(text) > 1000:
        raise _wrong(f"{text!r} is more than nginx can have: 1000")
    return text


def positive(text: str) -> int:
    number = natural(text)
    if number < 1:
        raise _wrong(f"{text!r} must be at least 1")
    return number


def message_size(text: str) -> int:
    if positive(text) < 1024:
        raise _wrong(f"{text!r} must be at least 1024")
    return int(text)


def natural(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise _wrong(f"{text!r} is no number of at least 0")
    # nginx's own limit is an int or more.
    if len(text) > 10 or int(text) >= 2**31:
        raise _wrong(f"{text!r} is too large a number")
    return int(text)


def port(text: str) -> int:
    number = natural(text)
    if number > 65535:
        raise _wrong(f"{text} is no port: the last one is 65535")
    return number


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e6:
        raise _wrong(f"{text!r} is no number of seconds")
    return number


def umask(text: str) -> int:
    if not re.fullmatch("(?:0o?)?[0-7]{1,4}", text):
        raise _wrong(f"{text!r} is no mode, as 027")
    return int(text, 8)


def size(text: str) -> str:
    match = re.fullmatch(r"([0-9]{1,19})([kmg]?)", text, re.IGNORECASE)
    if match is None or int(match[1]) << 10 * " kmg".index(match[2].lower() or " ") >= 2**63:
        raise _wrong(f"{text!r} is no size: 1024, 512k, 20m, 1g")
    return text


def status(text: str) -> str:
    if not text.startswith("/"):
        raise _wrong(
            f"{text!r} must begin with a slash; put TARGET before --status, or write --status=/PATH"
        )
    return text


def static(text: str) -> tuple[str, str]:
    url, equals, place = text.partition("=")
    if not equals or not place or not url.startswith("/"):
        raise _wrong(f"{text!r} is not /URL=DIR, such as /static=./static")
    if url == "/":
        raise _wrong("/ would hide the application; name the folders, as /static=./static")
    return url, place


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
        raise _wrong(f"{text!r} is not NAME:VALUE")
    if re.search(r"[\r\n\0]", value):
        raise _wrong(f"the value of {name} has a new line in it")
    return name, value.strip()


def websockets(text: str) -> bool:
    return text != "none"


def boolean(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise _wrong(f"{text!r} is neither true nor false")


def _wrong(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(text)
