"""uWSGI's files in INI, YAML, XML and JSON, with what they include."""

from __future__ import annotations

import glob
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from . import text_file
from .plan import ConversionError, Plan, Setting
from .uwsgi_options import TABLE

SUFFIXES = (".ini", ".xml", ".yml", ".yaml", ".json", ".js")


def read(plan: Plan, file: Path, outer: tuple[Path, ...] = ()) -> list[Setting]:
    """The settings of a file, with the %(…) and $(…) in them."""
    if file in outer:
        raise ConversionError(f"{file.name} includes itself")
    outer = (*outer, file)
    name, _, section = file.name.partition(":")
    path = file.with_name(name)
    text = text_file.read(path)
    suffix = path.suffix
    if suffix == ".xml":
        pairs = _xml(text, path.name)
    elif suffix in (".json", ".js"):
        pairs = _json(text, path.name)
    elif suffix in (".yaml", ".yml"):
        pairs = _yaml(text)
    else:
        pairs = _ini(text, section or "uwsgi")
    variables = {
        "p": str(path),
        "d": f"{path.parent}/",
        "n": path.stem,
        "s": path.name,
        "e": suffix.lstrip("."),
        "c": path.parent.name,
        "v": str(path.parent),
        "k": str(os.cpu_count() or 1),
    }
    settings = []
    for key, value, at in pairs:
        expanded = _expanded(value, variables)
        setting = Setting(key, expanded, f"{path.name}:{at}", f"{key} = {expanded}")
        variables[key] = expanded
        if key in ("set-placeholder", "set-ph", "set"):
            variable, _, content = expanded.partition("=")
            variables[variable] = content
        if (
            key in ("ini", "include", "yaml", "yml", "json", "xml")
            and (path.parent / expanded.partition(":")[0]).is_file()
            and not expanded.startswith(":")
        ):
            settings += read(plan, path.parent / expanded, outer)
            continue
        if key == "ini" and expanded.startswith(":"):
            settings += read(plan, path.with_name(f"{path.name}{expanded}"), outer)
            continue
        used = re.search(rf"%\({re.escape(key)}\)", text)
        if used and not TABLE.answers(key):
            continue
        settings.append(setting)
    return settings


def vassals(folder: Path, place: str) -> list[Path]:
    """The files of an emperor's folder, or those that a pattern names."""
    pattern = folder / re.sub("^(?:dir|glob)://", "", os.path.expanduser(place))
    found = pattern.iterdir() if pattern.is_dir() else map(Path, glob.glob(str(pattern)))
    return sorted(file for file in found if file.suffix in SUFFIXES and file.is_file())


def _expanded(text: str, variables: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return variables.get(match[1] or match[2], match[0])

    text = re.sub(r"%\(([^)]+)\)|%([a-zA-Z])(?![a-zA-Z])", value, text)
    return re.sub(r"\$\((\w+)\)", lambda match: os.environ.get(match[1], match[0]), text)


def _ini(text: str, section: str) -> list[tuple[str, str, int]]:
    found, here = [], ""
    for at, raw in enumerate(text_file.lines(text), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            here = line.strip("[]")
        elif here == section:
            key, equals, value = line.partition("=")
            found.append((key.strip(), value.strip() if equals else "true", at))
    return found


def _yaml(text: str) -> list[tuple[str, str, int]]:
    """As uWSGI itself reads YAML without a library: `key: value` lines, and lists below a key."""
    found, key = [], ""
    for at, raw in enumerate(text_file.lines(text), 1):
        line = re.sub(r"\s+#.*$", "", raw).strip()
        if (
            not line
            or line.startswith(("#", "---", "%"))
            or (raw[0] not in " \t-" and line.endswith(":"))
        ):
            continue
        if line.startswith("- "):
            found.append((key, line[2:].strip().strip("'\""), at))
            continue
        key, _, value = line.partition(":")
        key = key.strip()
        if value.strip():
            found.append((key, value.strip().strip("'\""), at))
    return found


def _xml(text: str, shown: str) -> list[tuple[str, str, int]]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConversionError(f"{shown} is no valid XML: {error}") from None
    found = []
    at = 0
    lines = text.splitlines()
    for element in root if root.tag == "uwsgi" else root.iterfind("uwsgi/*"):
        at = next((n for n in range(at, len(lines)) if f"<{element.tag}" in lines[n]), at)
        found.append((element.tag, (element.text or "true").strip(), at + 1))
        if "=" not in (element.text or "") and element.attrib:
            mounted = ",".join(element.attrib.values())
            found[-1] = (element.tag, f"{mounted}={(element.text or '').strip()}", at + 1)
    return found


def _json(text: str, shown: str) -> list[tuple[str, str, int]]:
    try:
        values = json.loads(text)["uwsgi"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConversionError(f"{shown} is no JSON with the key uwsgi: {error}") from None
    if not isinstance(values, dict):
        raise ConversionError(f"{shown} has no options below the key uwsgi")
    found = []
    for key, value in values.items():
        at = text[: text.find(f'"{key}"')].count("\n") + 1
        for each in value if isinstance(value, list) else [value]:
            found.append(
                (key, "true" if each is True else "false" if each is False else str(each), at)
            )
    return found
