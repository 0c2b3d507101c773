"""The options of a server: what each becomes here, or why it becomes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from .plan import ConversionError, Plan, Setting

Rule = Callable[[Plan, Setting], None]


@dataclass(frozen=True)
class Option:
    """An option by all its names: those that begin with a dash are the command line's."""

    names: tuple[str, ...]
    # The directives that it becomes, or None.
    here: tuple[str, ...]
    rule: Rule
    # How many arguments it takes on a command line: "0", "1", or "?" for one that may be left out.
    takes: str = "1"
    # Why it becomes nothing.
    why: str = ""


def becomes(here: str, rule: Rule, names: str, takes: str = "1") -> Option:
    """An option that becomes the directives `here`, by `rule`."""
    return Option(tuple(names.split()), tuple(here.split()), rule, takes)


def kept(here: str, names: str, takes: str = "1") -> Option:
    """One that only makes sense with others: kept under its first name, without dashes."""
    key = names.split()[0].lstrip("-")

    def keep(plan: Plan, setting: Setting) -> None:
        if setting.value is None:
            plan.spare(setting, "is not set")
        else:
            plan.keep(setting, key)

    return becomes(here, keep, names, takes)


def nothing(why: str, names: str, takes: str = "1") -> Option:
    """One that has no counterpart."""

    def leave(plan: Plan, setting: Setting) -> None:
        if is_off(setting.value):
            plan.spare(setting, "is off")
        else:
            plan.leave(setting, why)

    return Option(tuple(names.split()), (), leave, takes, why)


def needless(why: str, names: str, takes: str = "1") -> Option:
    """One whose effect is always there."""

    def spare(plan: Plan, setting: Setting) -> None:
        plan.spare(setting, why)

    return Option(tuple(names.split()), (), spare, takes, why)


def is_off(value: object) -> bool:
    """Whether a value says that the option is not wanted."""
    return value is None or value is False or value in ("", 0, [], {}) or value == ()


class Table:
    """All options of a server."""

    def __init__(self, system: str, *options: Option) -> None:
        self.system, self.options = system, options
        self.by_name = {name: option for option in options for name in option.names}
        names = [name for option in options for name in option.names]
        doubled = {name for name in names if names.count(name) > 1}
        assert not doubled, f"{system}: {doubled} are there twice"

    def apply(self, plan: Plan, setting: Setting) -> None:
        plan.seen.append(setting)
        option = self.by_name.get(setting.name)
        if option is None:
            plan.unknown.append(setting)
            return
        try:
            option.rule(plan, setting)
        except ConversionError as error:
            where = "" if str(error).startswith(setting.source) else f"{setting.source}: "
            raise ConversionError(f"{where}{error}") from None

    def parse(
        self, arguments: list[str], origin: str, *, strict: bool = False
    ) -> tuple[list[Setting], list[str]]:
        """The settings of a command line, and the arguments that belong to no option.

        strict: a long option may not be abbreviated (click; argparse and getopt allow it).
        """
        settings: list[Setting] = []
        rest: list[str] = []
        queue = list(arguments)
        while queue:
            word = queue.pop(0)
            if word == "--":
                rest += queue
                break
            if not word.startswith("-") or word == "-":
                rest.append(word)
                continue
            name, attached = self._split(word, strict)
            option = self.by_name.get(name)
            if option is None:
                settings.append(Setting(name, attached, origin, word))
                continue
            if option.takes == "0":
                settings.append(Setting(name, not name.startswith("--no-"), origin, name))
                # -DR is -D and -R.
                if attached and not name.startswith("--"):
                    queue.insert(0, f"-{attached}")
                continue
            value: object = attached
            if value is None and option.takes == "1":
                if not queue:
                    raise ConversionError(f"{origin}: {word} has no value")
                value = queue.pop(0)
            text = name if value is None else f"{name} {value}"
            settings.append(Setting(name, True if value is None else value, origin, text))
        return settings, rest

    def _split(self, word: str, strict: bool) -> tuple[str, str | None]:
        """An option's name and the value attached to it."""
        if not word.startswith("--"):
            if word in self.by_name:
                return word, None
            return word[:2], word[2:].removeprefix("=") or None
        name, equals, value = word.partition("=")
        if name not in self.by_name and not strict:
            longer = {
                self.by_name[each].names: each for each in self.by_name if each.startswith(name)
            }
            if len(longer) == 1:
                name = next(iter(longer.values()))
        return name, value if equals else None
