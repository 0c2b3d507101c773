"""docker/bookworm and docker/trixie: one image, on two releases of Debian."""

from __future__ import annotations

from harness import PROJECT

# What Debian 13 has in place of Debian 12's.
NEWER = {"bookworm": "trixie", "Debian 12": "Debian 13", "3.11": "3.13"}


def test_the_images_differ_in_their_debian_alone():
    older, newer = (
        (PROJECT / "docker" / suite / "Dockerfile").read_text() for suite in ("bookworm", "trixie")
    )
    assert older != newer
    for old, new in NEWER.items():
        older = older.replace(old, new)
    assert older == newer
