"""Uploaded pictures: which may be stored, and under which name. nginx serves the folder."""

import os
import tempfile
import uuid
from pathlib import Path

from werkzeug.datastructures import FileStorage

MAX_PICTURE_BYTES = 5 * 1024 * 1024


class BadPicture(ValueError):
    """The upload is not an accepted picture; the text is for the visitor."""


def store(upload: FileStorage, folder: Path) -> str:
    """Stores the picture in `folder` and returns its name there.

    Neither the visitor's file name nor the Content-Type that came with it is believed: the
    name is made here, and its ending follows from the picture's first bytes.
    """
    content = upload.stream.read(MAX_PICTURE_BYTES + 1)
    if len(content) > MAX_PICTURE_BYTES:
        raise BadPicture("The picture is too large: it may have at most 5 MB.")
    ending = recognise(content)
    if ending is None:
        raise BadPicture("The picture must be a PNG, JPEG, GIF or WebP file.")

    name = f"{uuid.uuid4().hex}{ending}"
    # Written under another name first, so that no half picture is served.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".upload-", delete=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), 0o644)
    os.replace(file.name, folder / name)
    return name


def recognise(content: bytes) -> str | None:
    """The file name extension for these bytes, or None if they are not a picture."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if content.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return ".gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return None
