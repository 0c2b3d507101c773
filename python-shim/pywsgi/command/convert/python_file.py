"""A configuration file in Python: its settings without running it, as far as that goes.

`read` walks the syntax tree and computes what a configuration file computes: literals,
arithmetic, strings, `os.environ`, `cpu_count()`, paths. It calls nothing of the file's own, so a
file of unknown origin can be converted. `run` runs the file in a child process, if its user asks
for that.
"""

from __future__ import annotations

import ast
import contextlib
import json
import multiprocessing
import operator
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from ..guess import bound
from . import text_file
from .option import Table
from .plan import ConversionError, Plan, Setting

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}

# The functions that are called; they read nothing but this machine's processors and environment.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "multiprocessing.cpu_count": multiprocessing.cpu_count,
    "os.cpu_count": os.cpu_count,
    "os.process_cpu_count": os.cpu_count,
    "os.getenv": os.environ.get,
    "os.environ.get": os.environ.get,
    "pathlib.Path": Path,
    "os.path.join": os.path.join,
    "os.path.dirname": os.path.dirname,
    "os.path.basename": os.path.basename,
    "os.path.abspath": os.path.abspath,
    "os.path.realpath": os.path.realpath,
    "os.path.expanduser": os.path.expanduser,
    "int": int,
    "str": str,
    "float": float,
    "bool": bool,
    "len": len,
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "list": list,
    "dict": dict,
    "tuple": tuple,
}
_METHODS: dict[type, set[str]] = {
    str: {
        "format",
        "lower",
        "upper",
        "strip",
        "split",
        "replace",
        "join",
        "startswith",
        "endswith",
    },
    dict: {"get"},
    type(Path()): {"resolve", "absolute", "joinpath"},
}


class _NotComputedError(Exception):
    """An expression that cannot be computed without running the file."""


def read(file: Path, folder: Path) -> list[Setting]:
    """The settings of a file: the last value of each name that its top level assigns.

    What cannot be computed has the value `Unread`, for the table to name.
    """
    text = text_file.read(file)
    try:
        tree = text_file.tree(text, file)
    except SyntaxError as error:
        raise ConversionError(
            f"{file.name}:{error.lineno} is no valid Python: {error.msg}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        # A NUL in it; nested too deeply.
        raise ConversionError(f"{file.name} is no valid Python: {error}") from None
    reader = _Reader(file, text, folder)
    reader.block(tree.body)
    return list(reader.settings.values())


class Unread:
    """The value of a setting that only running its file tells."""

    def __init__(self, why: str) -> None:
        self.why = why


class _Reader:
    def __init__(self, file: Path, source: str, folder: Path) -> None:
        self.shown, self.source, self.folder = file.name, source, folder
        self.names: dict[str, Any] = {"__file__": os.path.abspath(file), "__name__": "__config__"}
        self.imported: dict[str, str] = {}
        self.settings: dict[str, Setting] = {}

    def block(self, body: list[ast.stmt]) -> None:
        for node in body:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import):
            self.imported |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                self.imported[name] = f"{node.module}.{alias.name}"
                self.tell(name, Unread("it is imported"), node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                self.assign(target, node.value, node)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.assign(node.target, node.value, node)
        elif isinstance(node, ast.AugAssign):
            changed = ast.BinOp(
                ast.Name(getattr(node.target, "id", ""), ast.Load()), node.op, node.value
            )
            self.assign(node.target, ast.copy_location(changed, node), node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            self.keep(node.name, f"def {node.name}", node, text=f"def {node.name}()")
        elif isinstance(node, ast.ClassDef):
            self.keep(node.name, Unread("it is a class"), node, text=f"class {node.name}")
        elif isinstance(node, ast.If):
            self.branch(node)
        elif isinstance(node, ast.Try):
            self.block([*node.body, *node.orelse])
            for handler in node.handlers:
                self.unsure(handler, node, "it depends on an exception")
            self.block(node.finalbody)
        elif isinstance(node, ast.Expr):
            self.call(node)
        elif not isinstance(node, (ast.Global, ast.Pass, ast.Assert, ast.Raise)):
            # Loops, `with`, `match`, `del` and what Python will add.
            self.unsure(node, node, "it is set in a loop or a block")

    def branch(self, node: ast.If) -> None:
        try:
            chosen = node.body if self.value(node.test) else node.orelse
        except _NotComputedError:
            self.unsure(node, node, "it depends on a condition")
            return
        self.block(chosen)

    def unsure(self, inside: ast.AST, node: ast.stmt, why: str) -> None:
        """What is set in there is set on a condition."""
        for name in dict.fromkeys(bound(inside)):
            self.keep(name, Unread(why), node)

    def call(self, node: ast.Expr) -> None:
        """A method that changes a value: raw_env.append("A=1")."""
        call = node.value
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            return
        name = ast.unparse(call.func.value)
        held, before = self.names.get(name), self.settings.get(name)
        if before is None or not isinstance(held, (list, dict)):
            return
        value: object = Unread(f"{call.func.attr}() changes it")
        with contextlib.suppress(_NotComputedError):
            if isinstance(held, list) and call.func.attr == "append":
                value = [*held, self.value(call.args[0])]
            elif isinstance(held, list) and call.func.attr == "extend":
                value = [*held, *self.value(call.args[0])]
        self.names[name] = value
        text = f"{before.text}; {self.shortened(node)}"
        self.settings[name] = Setting(name, value, before.origin, text)

    def assign(self, target: ast.expr, expression: ast.expr, node: ast.stmt) -> None:
        try:
            value = self.value(expression)
        except _NotComputedError as error:
            value = Unread(str(error))
        if isinstance(target, ast.Name):
            self.keep(target.id, value, node)
        elif isinstance(target, (ast.Tuple, ast.List)):
            several = isinstance(value, (list, tuple)) and len(value) == len(target.elts)
            for index, each in enumerate(target.elts):
                if isinstance(each, ast.Name):
                    part = value[index] if several else Unread("it is unpacked")
                    self.keep(each.id, part, node)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            name, held = target.value.id, self.names.get(target.value.id)
            try:
                if isinstance(held, dict) and not isinstance(value, Unread):
                    held[self.value(target.slice)] = value
                    return
            except _NotComputedError:
                pass
            self.keep(name, Unread("one of its items is set"), node)

    def keep(self, name: str, value: Any, node: ast.stmt, text: str | None = None) -> None:
        self.names[name] = value
        if not name.startswith("_"):
            self.tell(name, value, node, text)

    def tell(self, name: str, value: Any, node: ast.stmt, text: str | None = None) -> None:
        self.settings.pop(name, None)
        origin = f"{self.shown}:{node.lineno}"
        self.settings[name] = Setting(name, value, origin, text or self.shortened(node))

    def shortened(self, node: ast.stmt) -> str:
        """The first line of a statement."""
        segment = ast.get_source_segment(self.source, node) or ast.unparse(node)
        first = segment.splitlines()[0]
        return first if first == segment else f"{first} …"

    # Expressions

    def value(self, node: ast.expr) -> Any:
        try:
            return self._value(node)
        except _NotComputedError:
            raise
        except Exception as error:
            raise _NotComputedError(f"{type(error).__name__}: {error}") from None

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self._value(each) for each in node.elts]
        if isinstance(node, ast.Dict) and all(node.keys):
            keys = [self._value(key) for key in node.keys if key is not None]
            return dict(zip(keys, (self._value(each) for each in node.values)))
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            left, right = self._value(node.left), self._value(node.right)
            # "x" * 10**9 and "%999999999d" are no configuration.
            if isinstance(node.op, ast.Mult) and not (_is_number(left) and _is_number(right)):
                raise _NotComputedError("it repeats a string or a list")
            if isinstance(left, str) and re.search(r"%[^%sdir]", left.replace("%%", "")):
                raise _NotComputedError("its format is more than %s")
            return _OPERATORS[type(node.op)](left, right)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self._value(node.operand))
        if isinstance(node, ast.BoolOp):
            value = self._value(node.values[0])
            for each in node.values[1:]:
                if bool(value) is isinstance(node.op, ast.Or):
                    break
                value = self._value(each)
            return value
        if isinstance(node, ast.IfExp):
            return self._value(node.body if self._value(node.test) else node.orelse)
        if isinstance(node, ast.Compare):
            left = self._value(node.left)
            for op, each in zip(node.ops, node.comparators):
                right = self._value(each)
                if not _OPERATORS[type(op)](left, right):
                    return False
                left = right
            return True
        if isinstance(node, ast.JoinedStr):
            return "".join(self._formatted(each) for each in node.values)
        if isinstance(node, ast.Subscript):
            is_environment = self._dotted(node.value) == "os.environ"
            held = os.environ if is_environment else self._value(node.value)
            return held[self._value(node.slice)]
        if isinstance(node, ast.Call):
            return self._call(node)
        raise _NotComputedError(f"{ast.unparse(node)} is code")

    def _formatted(self, node: ast.expr) -> str:
        if isinstance(node, ast.FormattedValue) and node.format_spec is None:
            return str(self._value(node.value))
        return str(self._value(node))

    def _name(self, name: str) -> Any:
        if name in self.names:
            value = self.names[name]
            if isinstance(value, Unread):
                raise _NotComputedError(value.why)
            return value
        raise _NotComputedError(f"{name} is not a value of this file")

    def _attribute(self, node: ast.Attribute) -> Any:
        dotted = ast.unparse(node)
        # An enumeration: the table knows its names.
        if dotted.startswith("ssl."):
            return dotted
        if node.attr in ("parent", "name", "stem"):
            held = self._value(node.value)
            if isinstance(held, Path):
                return getattr(held, node.attr)
        raise _NotComputedError(f"{dotted} is code")

    def _dotted(self, node: ast.expr) -> str:
        """The name of a module's function or value, wherever it is imported from."""
        name = ast.unparse(node)
        first, dot, rest = name.partition(".")
        return self.imported.get(name) or self.imported.get(first, first) + dot + rest

    def _call(self, node: ast.Call) -> Any:
        arguments = [self._value(each) for each in node.args]
        named = {word.arg: self._value(word.value) for word in node.keywords if word.arg}
        name = self._dotted(node.func)
        if name == "os.getcwd":
            return str(self.folder)
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](*arguments, **named)
        if isinstance(node.func, ast.Attribute):
            held = self._value(node.func.value)
            if node.func.attr == "format" and not re.fullmatch(r"(?:[^{}]|\{\w*\})*", str(held)):
                raise _NotComputedError("its format is more than {}")
            if node.func.attr in _METHODS.get(type(held), set()):
                return getattr(held, node.func.attr)(*arguments, **named)
        raise _NotComputedError(f"{ast.unparse(node)} is a call")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


# Running a file

_PROGRAM = """
import json, runpy, sys
found = runpy.run_path(sys.argv[1], run_name="__config__")
def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return "def " + getattr(value, "__name__", "") if callable(value) else repr(value)
modules = type(sys)
print("\\n" + json.dumps({
    name: plain(value) for name, value in found.items()
    if name[0] != "_" and not isinstance(value, modules)
}))
"""


def _values(file: Path, folder: Path, timeout: float = 30.0) -> dict[str, Any]:
    """What the names of a file are in the end, by running it in a child process, in the folder that
    the server starts in."""
    shown = file.name
    command = [sys.executable, "-c", _PROGRAM, str(file.resolve())]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConversionError(f"{shown} has not returned within {timeout:g} s") from None
    if done.returncode:
        raise ConversionError(f"{shown} fails when it is run:\n{done.stderr.strip()}")
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


def _ran(file: Path, folder: Path, read: list[Setting], table: Table) -> list[Setting]:
    written = {setting.name: setting for setting in read if setting.name != "*"}
    found = []
    for name, value in _values(file, folder).items():
        there = written.get(name)
        # What another module sets is nowhere in the file.
        if there is None and name in table.by_name:
            there = Setting(name, value, file.name, f"{name} = {value!r}")
        if there is not None and (name in table.by_name or there.text.startswith(name)):
            found.append(Setting(name, value, there.origin, there.text))
    return found


# For the tables


def settings(plan: Plan, table: Table, file: Path, *, run: bool) -> list[Setting]:
    """The settings that the server knows. Everything else is a variable of the file's own, unless
    it looks like a setting."""
    found = read(file, plan.folder)
    if run:
        found = _ran(file, plan.folder, found, table)
    known = [each for each in found if each.name in table.by_name or each.name == "*"]
    for each in found:
        if each not in known and not isinstance(each.value, (Unread, dict)):
            plan.spare(each, f"{table.system} has no setting of this name")
    return known


def apply(table: Table, setting: Setting, plan: Plan) -> None:
    """One that could not be computed is named, with the reason."""
    if isinstance(setting.value, Unread):
        why = f"{setting.value.why}: give --run to run the file, or write its line yourself"
        plan.leave(setting, why)
    else:
        table.apply(plan, setting)
