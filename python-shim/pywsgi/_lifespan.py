"""The lifespan of an ASGI application: its startup before the first request, and its shutdown at
the worker's end. An application has one in each worker, on the loop that runs its requests.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NoReturn

from pywsgi._log import log, report
from pywsgi._stacks import format_exception
from pywsgi._tasks import format_task

Message = MutableMapping[str, Any]


class Lifespan:
    """One lifespan: "created", "starting", "started", "stopping", "ended".

    It also ends if the startup fails, or if the application does without a lifespan. After a
    failure another attempt needs another object.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[object]],
        mode: str,
        startup_timeout: float | None,
        shutdown_timeout: float | None,
        target: str,
    ) -> None:
        """`mode` decides about an application that raises or returns before it has answered
        lifespan.startup: with "auto" it does without a lifespan, with "on" its startup has failed.
        The timeouts are in seconds; None is no limit. `target` names the application in the log.
        """
        # What requests get a copy of, as `scope["state"]`; None if the application does without a
        # lifespan.
        self.state: dict[str, Any] | None = None
        self._app = app
        self._mode = mode
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._target = target
        self._phase = "created"
        self._received: set[str] = set()
        # How lifespan.startup and lifespan.shutdown were answered.
        self._answers: dict[str, str] = {}
        # A message of the application was refused.
        self._refused = False
        # It has sent …failed without a message.
        self._unexplained = False

    def start(self, loop: asyncio.AbstractEventLoop, done: Callable[[str | None], object]) -> None:
        """Begins the startup. Must be called once, on the loop's thread while the loop runs.

        Calls `done(None)` once requests may run, or `done(text)` if the startup has failed, with a
        text for the log, which is not logged here. It is called once, by the loop, in the context
        (contextvars) of this call.
        """
        if self._phase != "created":
            raise RuntimeError("a lifespan can be started only once")
        self._phase = "starting"
        self._loop = loop
        self._done = done
        self._context = contextvars.copy_context()
        self._state: dict[str, Any] = {}
        self._scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        self._startup_over = asyncio.Event()
        self._shutdown_begun = asyncio.Event()
        self._shutdown_over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        if self._startup_timeout is not None:
            self._timer = loop.call_later(self._startup_timeout, self._give_up_startup)
        self._task = loop.create_task(self._call(), name=f"lifespan of {self._target}")

    async def shutdown(self) -> None:
        """Ends the lifespan, within `shutdown_timeout`, and logs what fails. The first call does;
        others do nothing. A startup that has begun is waited for: what it opens must be closed."""
        deadline = self._deadline()
        if self._phase == "starting" and not await _within(self._startup_over, deadline):
            self._fail("the worker exits before the lifespan's startup has ended")
            self._task.cancel()
        if self._phase != "started":
            return
        self._phase = "stopping"
        self._shutdown_begun.set()
        if not await _within(self._shutdown_over, deadline):
            self._say(
                "ShutdownLate",
                f"its lifespan has not ended within {self._shutdown_timeout:g} s of"
                f" lifespan.shutdown (asgi_lifespan shutdown_timeout){self._where()}",
            )
        self._phase = "ended"
        self._task.cancel()

    def _deadline(self) -> float | None:
        timeout = self._shutdown_timeout
        return None if timeout is None else time.monotonic() + timeout

    # The application's side.

    async def _call(self) -> None:
        # Even SystemExit ends here: it would end the loop.
        try:
            await self._app(self._scope, self._receive, self._send)
        except GeneratorExit:
            raise
        except BaseException as error:
            self._leave(error)
        else:
            self._leave(None)

    async def _receive(self) -> Message:
        if "lifespan.startup" not in self._received:
            return self._give("lifespan.startup")
        if "lifespan.shutdown" not in self._received:
            await self._shutdown_begun.wait()
        if "lifespan.shutdown" not in self._received:
            return self._give("lifespan.shutdown")
        if "shutdown" in self._answers:
            self._shutdown_over.set()
        # There are no more messages. The task is cancelled here.
        await self._loop.create_future()
        raise AssertionError

    def _give(self, kind: str) -> Message:
        self._received.add(kind)
        return {"type": kind}

    async def _send(self, message: Message) -> None:
        try:
            kind = _type_of(message)
            _, step, answer = kind.split(".")
            text = _text_of(message) if answer == "failed" else ""
            self._check_order(kind, step)
        except Exception:
            # What answers every scope as HTTP knows nothing of lifespans.
            self._refused = _is_of_lifespan(message)
            raise
        self._answers[step] = answer
        if kind == "lifespan.startup.complete":
            self._phase = "started"
            self.state = self._state
            self._end_startup(None)
        elif answer == "failed":
            self._unexplained = not text
            what = f"{kind}: {text or 'without a message'}"
            if step == "startup":
                self._fail(what)
            else:
                self._say("ShutdownFailed", what)

    def _check_order(self, kind: str, step: str) -> None:
        if step in self._answers:
            earlier = f"lifespan.{step}.{self._answers[step]}"
            _refuse(kind, f"{earlier} has been sent before (the lifespan is {self._phase!r})")
        if step == "startup" and self._phase != "starting":
            _refuse(kind, f"it is too late: the lifespan is {self._phase!r}")
        if step == "shutdown" and "lifespan.shutdown" not in self._received:
            _refuse(kind, f"lifespan.shutdown was not received (the lifespan is {self._phase!r})")

    # The ends.

    def _leave(self, error: BaseException | None) -> None:
        """The application's call has ended."""
        if self._phase == "starting":
            # An application that has answered lifespan.startup wrongly knows it.
            if self._mode == "auto" and not self._refused:
                self._do_without(error)
            elif error is None:
                self._fail("it returned before it sent lifespan.startup.complete")
            else:
                self._fail(f"its lifespan's startup raised\n{format_exception(error)}")
        elif self._phase == "started":
            self._phase = "ended"
            what = "its lifespan ended before lifespan.shutdown; it is served without from now on"
            if error is None:
                self._say("LifespanEnded", what)
            else:
                self._report("LifespanRaised", what, error)
        elif self._phase == "stopping" or self._unexplained:
            self._shutdown_over.set()
            # Starlette sends the traceback, and then raises the exception as well.
            explained = self._answers.get("shutdown") == "failed" and not self._unexplained
            if isinstance(error, asyncio.CancelledError):
                self._say("LifespanCut", "its lifespan was cut: the worker exits")
            elif error is not None and not explained:
                self._report("LifespanRaised", "its lifespan raised", error)

    def _do_without(self, error: BaseException | None) -> None:
        self._phase = "ended"
        if error is None:
            self._say("WithoutLifespan", "it does without a lifespan: it returned")
        elif "lifespan.startup" not in self._received:
            text = f"{type(error).__name__}: {error}"
            self._say("WithoutLifespan", f"it does without a lifespan: it raised {text}")
        else:
            self._report(
                "LifespanGivenUp",
                "it is served without its lifespan, the startup of which raised (with asgi_lifespan"
                " on it would not be served)",
                error,
            )
        self._end_startup(None)

    def _give_up_startup(self) -> None:
        if self._phase == "starting":
            self._fail(
                f"its lifespan's startup has not ended within {self._startup_timeout:g} s"
                f" (asgi_lifespan startup_timeout){self._where()}"
            )
            self._task.cancel()

    def _fail(self, text: str) -> None:
        self._phase = "ended"
        self._end_startup(text)

    def _end_startup(self, failure: str | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._startup_over.set()
        self._loop.call_soon(self._done, failure, context=self._context)

    def _where(self) -> str:
        stack = format_task(self._task)
        return f"; it is at:\n{stack}" if stack else ""

    def _say(self, code: str, text: str) -> None:
        log(code, f'application "{self._target}": {text}')

    def _report(self, code: str, what: str, error: BaseException) -> None:
        report(code, f'application "{self._target}": {what}', format_exception(error))


def _type_of(message: Any) -> str:
    if not isinstance(message, MutableMapping):
        raise TypeError(f"a lifespan message must be a dict, not {type(message).__name__}")
    kind = message.get("type")
    if not isinstance(kind, str):
        raise TypeError(f"a lifespan message's 'type' must be str, not {type(kind).__name__}")
    if kind not in _ANSWERS:
        _refuse(kind, f"a lifespan has {', '.join(_ANSWERS)}")
    return kind


def _is_of_lifespan(message: Any) -> bool:
    kind = message.get("type") if isinstance(message, MutableMapping) else None
    return not isinstance(kind, str) or kind.startswith("lifespan.")


def _text_of(message: Message) -> str:
    text = message.get("message", "")
    if not isinstance(text, str):
        kind = type(text).__name__
        raise TypeError(f"{message['type']}: its 'message' must be str, not {kind}")
    return text.strip()


def _refuse(kind: str, why: str) -> NoReturn:
    raise RuntimeError(f"{kind!r} cannot be sent: {why}")


async def _within(event: asyncio.Event, deadline: float | None) -> bool:
    """Waits for it. False if it has not come in time."""
    left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
    try:
        await asyncio.wait_for(event.wait(), left)
    except asyncio.TimeoutError:
        return event.is_set()
    return True


_ANSWERS = (
    "lifespan.startup.complete",
    "lifespan.startup.failed",
    "lifespan.shutdown.complete",
    "lifespan.shutdown.failed",
)
