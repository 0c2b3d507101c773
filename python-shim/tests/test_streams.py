"""LogStream: lines, threads, and what must not be lost or forged."""

from __future__ import annotations

import faulthandler
import io
import subprocess
import sys
import threading
import traceback
from typing import Any

import pytest

from pywsgi._streams import LogStream

Lines = list[tuple[int, str]]


def texts(lines: Lines) -> list[str]:
    return [line for _, line in lines]


def test_each_line_is_logged_at_the_level_of_the_stream(lines: Lines) -> None:
    stream = LogStream(7)
    assert stream.write("one\ntwo\nthr") == 11
    assert lines == [(7, "one"), (7, "two")]
    stream.level = 4
    print("ee", file=stream)
    assert lines[2:] == [(4, "three")]


def test_a_line_that_is_flushed_is_logged_and_the_rest_is_a_line_of_its_own(lines: Lines) -> None:
    stream = LogStream(7)
    print("a", end="", file=stream, flush=True)
    assert texts(lines) == ["a"]
    print("b", file=stream)
    stream.flush()
    assert texts(lines) == ["a", "b"]


def test_an_empty_line_is_kept_and_a_carriage_return_at_a_lines_end_is_not(lines: Lines) -> None:
    LogStream(7).write("one\r\n\ntwo\n")
    assert texts(lines) == ["one", "", "two"]


def test_a_progress_bar_is_a_line_for_each_of_its_states(lines: Lines) -> None:
    stream = LogStream(4)
    for text in ("\r 10%", "\r 20%", "\r", "\n"):
        stream.write(text)
        stream.flush()
    assert texts(lines) == [" 10%", " 20%", ""]


def test_what_would_forge_or_hide_a_line_is_escaped(lines: Lines) -> None:
    LogStream(4).write("a\tb\x00\x1b[2J\x7f\x85\u2028\rc \udc80é日\U0001f600\\n\n")
    assert texts(lines) == [
        "a\tb\\x00\\x1b[2J\\x7f\\x85\\u2028\\x0dc \\udc80é日\U0001f600\\n",
    ]
    lines[0][1].encode()


def test_bytes_are_refused(lines: Lines) -> None:
    with pytest.raises(TypeError, match="must be str, not bytes"):
        LogStream(4).write(b"a\n")  # type: ignore[arg-type]
    assert lines == []


def test_a_subclass_of_str_is_written_as_its_text(lines: Lines) -> None:
    class Escaping(str):
        __slots__ = ()

        def split(self, *_: object) -> list[str]:
            raise AssertionError

        def __radd__(self, other: str) -> str:
            raise AssertionError

        def __str__(self) -> str:
            raise AssertionError

    stream = LogStream(4)
    stream.write("a")
    stream.write(Escaping("<b>\n"))
    assert texts(lines) == ["a<b>"]


def test_an_unfinished_line_is_each_threads_own(lines: Lines) -> None:
    stream = LogStream(4)
    turn = threading.Barrier(2, timeout=10)

    def write(name: str) -> None:
        for part in range(3):
            turn.wait()
            stream.write(f"{name}{part}")
        turn.wait()
        stream.write("\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts(lines)) == ["a0a1a2", "b0b1b2"]


def test_a_thread_that_ends_in_the_middle_of_a_line_does_not_lose_it(lines: Lines) -> None:
    stream = LogStream(4)
    thread = threading.Thread(target=stream.write, args=("unfinished",))
    thread.start()
    thread.join()
    assert texts(lines) == ["unfinished"]


def test_release_logs_this_threads_unfinished_lines_of_every_stream(lines: Lines) -> None:
    output, errors = LogStream(7), LogStream(4)
    ready, done = threading.Event(), threading.Event()

    def other() -> None:
        output.write("another thread's")
        ready.set()
        done.wait(10)
        output.write(" line\n")

    thread = threading.Thread(target=other)
    thread.start()
    ready.wait(10)
    output.write("o")
    errors.write("e")
    errors.release()
    assert lines == [(7, "o"), (4, "e")]
    output.release()
    assert len(lines) == 2
    done.set()
    thread.join()
    assert texts(lines[2:]) == ["another thread's line"]


def test_a_line_that_does_not_end_is_bounded(lines: Lines) -> None:
    stream = LogStream(4)
    for _ in range(300):
        stream.write("x" * 1000)
    assert lines == []
    stream.flush()
    stream.write("y" * 200_000)
    stream.write("z\n")
    stream.write("é" * 65_536 + "\n")
    assert texts(lines) == [
        "x" * 65_536 + " [234464 more characters are cut]",
        "y" * 65_536 + " [134465 more characters are cut]",
        "é" * 32_768 + " [32768 more characters are cut]",
    ]


def test_a_finaliser_that_prints_in_the_middle_of_a_write_loses_nothing(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = LogStream(4)

    def say(level: int, _logger: str, text: str) -> None:
        lines.extend((level, line) for line in text.split("\n"))
        if text == "first\nsecond":
            stream.write("from a finaliser\n")

    monkeypatch.setattr("pywsgi._streams.say", say)
    stream.write("fir")
    stream.write("st\nsecond\nthi")
    stream.write("rd\n")
    assert sorted(texts(lines)) == ["first", "from a finaliser", "second", "third"]


def test_the_binary_side_joins_characters_and_shows_other_bytes(lines: Lines) -> None:
    stream = LogStream(7)
    euro = "€\n".encode()
    assert stream.buffer.write(euro[:2]) == 2
    assert stream.buffer.write(memoryview(euro[2:])) == 2
    stream.buffer.write(bytearray(b"\xff\n"))
    stream.buffer.write(b"\xe2")
    stream.write("text\n")
    assert texts(lines) == ["€", "\\xff", "\\xe2text"]
    with pytest.raises(TypeError, match="not 'str'"):
        stream.buffer.write("a")  # type: ignore[arg-type]


def test_a_traceback_that_is_printed_line_by_line_stays_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[tuple[Any, ...]] = []
    monkeypatch.setattr("pywsgi._streams.say", lambda *what: said.append(what))
    stream = LogStream(4, "<stderr>")
    try:
        raise ValueError("broken")
    except ValueError:
        traceback.print_exc(file=stream)
        assert [(what[0], what[1], what[4]) for what in said] == [
            (4, "stderr", "ValueError: broken")
        ]
        assert said[0][2] == said[0][5] == traceback.format_exc().rstrip("\n")
        stream.write(f"before\n{traceback.format_exc()}after\n")
    assert [what[2].partition("\n")[0] for what in said[1:]] == [
        "before",
        "Traceback (most recent call last):",
        "after",
    ]
    stream.write("Traceback (most recent call last):\n  one\n")
    stream.write("  two")
    assert len(said) == 4
    stream.flush()
    assert said[4:] == [
        (
            4,
            "stderr",
            "Traceback (most recent call last):\n  one\n  two",
            None,
            "  two",
            "Traceback (most recent call last):\n  one\n  two",
        )
    ]
    stream.write("Traceback (most recent call last):\n")
    for _ in range(200):
        stream.write(f"  {'x' * 1000}\n")
    assert [len(what[2]) for what in said[5:7]] == [66_232, 1002]
    assert len(said) == 5 + 1 + 200 - 66


def test_it_is_what_libraries_expect_of_a_standard_stream(lines: Lines) -> None:
    stream = LogStream(7, "<stdout>")
    assert (stream.encoding, stream.errors, stream.name) == (
        "utf-8",
        "backslashreplace",
        "<stdout>",
    )
    assert (stream.isatty(), stream.writable(), stream.readable()) == (False, True, False)
    assert (stream.seekable(), stream.closed, stream.fileno()) == (False, False, 2)
    assert stream.buffer.fileno() == 2
    stream.reconfigure(encoding="utf-8", line_buffering=True)
    stream.writelines(["a", "b\n"])
    stream.close()
    with stream:
        pass
    stream.write("still open\n")
    wrapped = io.TextIOWrapper(stream.buffer, encoding="utf-8")
    wrapped.write("wrapped\n")
    del wrapped  # Closes what it wraps.
    io.TextIOWrapper(stream.detach(), encoding="utf-8", line_buffering=True).write("detached\n")
    assert texts(lines) == ["ab", "still open", "wrapped", "detached"]


def test_what_needs_a_descriptor_takes_it() -> None:
    stream = LogStream(4)
    code = "import sys; sys.stdout.write('')"
    streams: dict[str, Any] = {"stdout": stream, "stderr": stream}
    subprocess.run([sys.executable, "-c", code], check=True, **streams)
    was_enabled = faulthandler.is_enabled()
    faulthandler.enable(stream)
    if not was_enabled:
        faulthandler.disable()
