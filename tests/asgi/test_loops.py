"""Event loops: real ones, on a thread of their own, which libraries find as they expect.

`directives/test_asgi_event_loop.py` and its neighbours test what is configured of them.
"""

from __future__ import annotations

import time

import pytest
from harness import EVENT_LOOP

# Answers with the value of an expression, or what it raised.
ASKS = """
    import asyncio
    import contextvars
    import os
    import signal
    import subprocess
    import sys
    import threading
    from testkit import record, respond

    variable = contextvars.ContextVar("variable", default="unset")

    async def value():
        {body}

    async def application(scope, receive, send):
        try:
            text = repr(await value())
        except Exception as error:
            text = f"{{type(error).__name__}}: {{error}}"
        await respond(send, text.encode())
"""


@pytest.fixture
def asks(nginx, serve):
    """`asks("return 1")`: what a coroutine of that body returns, when a request awaits it."""

    def ask(body: str, **options) -> str:
        import textwrap

        lines = textwrap.indent(textwrap.dedent(body).strip(), " " * 8).strip()
        serve(ASKS.format(body=lines), **options)
        return nginx.client().get("/").text

    return ask


def test_the_suite_runs_on_the_loop_that_it_says(asks):
    text = asks("return type(asyncio.get_running_loop()).__module__")
    assert text.startswith("'uvloop" if EVENT_LOOP == "uvloop" else "'asyncio.")


def test_main_is_python_s_main_thread(asks):
    assert asks("return threading.current_thread() is threading.main_thread()") == "True"


def test_the_running_loop(asks):
    text = asks(
        """
        loop = asyncio.get_running_loop()
        assert loop is asyncio.get_event_loop()
        assert loop.is_running() and not loop.is_closed()
        assert loop.get_task_factory() is None
        assert not loop.get_debug()
        return loop.time() > 0
        """
    )
    assert text == "True"


def test_a_request_is_a_task(asks):
    text = asks(
        """
        task = asyncio.current_task()
        assert isinstance(task, asyncio.Task)
        assert task in asyncio.all_tasks()
        assert task.get_stack() and not task.done() and not task.cancelled()
        assert task.get_coro() is not None
        return task.get_name() != ""
        """
    )
    assert text == "True"


def test_asyncio_s_timeout_and_taskgroup(asks):
    text = asks(
        """
        if sys.version_info >= (3, 11):
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            except TimeoutError:
                pass
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(0.001, n)) for n in range(3)]
            return [task.result() for task in tasks]
        return [0, 1, 2]
        """
    )
    assert text == "[0, 1, 2]"


def test_sleeping_requests_run_side_by_side(nginx, serve, background):
    serve(
        """
        import asyncio
        from testkit import record, respond

        async def application(scope, receive, send):
            record("entered")
            await asyncio.sleep(1)
            await respond(send, b"slept")
        """
    )
    nginx.client().get("/")
    begun = time.monotonic()
    answers = [background("/") for _ in range(40)]
    assert [answer.result().text for answer in answers] == ["slept"] * 40
    assert time.monotonic() - begun < 20


def test_run_in_executor_and_to_thread(asks):
    text = asks(
        """
        loop = asyncio.get_running_loop()
        variable.set("of the request")
        own = threading.get_ident()
        elsewhere = await loop.run_in_executor(None, threading.get_ident)
        copied = await asyncio.to_thread(variable.get)
        return (own != elsewhere, copied)
        """
    )
    assert text == "(True, 'of the request')"


def test_call_soon_threadsafe(asks):
    text = asks(
        """
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        threading.Thread(target=loop.call_soon_threadsafe, args=(event.set,)).start()
        await asyncio.wait_for(event.wait(), 60)
        return event.is_set()
        """
    )
    assert text == "True"


def test_run_coroutine_threadsafe(asks):
    text = asks(
        """
        loop = asyncio.get_running_loop()

        async def answer():
            return asyncio.get_running_loop() is loop

        def ask():
            return asyncio.run_coroutine_threadsafe(answer(), loop).result(60)

        return await asyncio.to_thread(ask)
        """
    )
    assert text == "True"


def test_subprocesses(asks):
    text = asks(
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; print(sys.stdin.read() + '!'); sys.exit(7)",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        output, _ = await process.communicate(b"hello")
        shell = await asyncio.create_subprocess_shell("exit 3")
        return (output, process.returncode, await shell.wait())
        """
    )
    assert text == "(b'hello!\\n', 7, 3)"


def test_many_subprocesses_at_once(asks):
    text = asks(
        """
        async def one(number):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {number}")
            return await process.wait()

        return await asyncio.gather(*(one(number) for number in range(20)))
        """
    )
    assert text == repr(list(range(20)))


def test_sockets_of_the_loop(asks):
    text = asks(
        """
        async def echo(reader, writer):
            writer.write(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"over a socket")
        writer.write_eof()
        data = await reader.read()
        writer.close()
        server.close()
        return data
        """
    )
    assert text == "b'over a socket'"


def test_signal_handlers_are_refused_with_a_reason(asks):
    text = asks("return asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)")
    assert text.startswith("NotImplementedError: ")
    assert "SIGTERM" in text
    assert "lifespan" in text


def test_asyncio_run_in_a_request_says_why_not(asks):
    assert asks("return asyncio.run(asyncio.sleep(0))").startswith("RuntimeError: ")


def test_asyncio_run_in_a_thread(asks):
    assert asks("return await asyncio.to_thread(asyncio.run, asyncio.sleep(0, 'run'))") == "'run'"


def test_anyio(asks):
    text = asks(
        """
        import anyio
        import anyio.to_thread
        import sniffio

        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep(60)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.001)
        threads = {await anyio.to_thread.run_sync(threading.get_ident) for _ in range(5)}
        library = sniffio.current_async_library()
        return (scope.cancelled_caught, library, len(threads), threading.get_ident() in threads)
        """
    )
    assert text == "(True, 'asyncio', 1, False)"


def test_context_variables_are_apart(nginx, serve, background):
    """Of requests that run interleaved, and of requests one after the other."""
    serve(
        """
        import asyncio
        import contextvars
        from testkit import record, respond

        variable = contextvars.ContextVar("variable", default="unset")

        async def application(scope, receive, send):
            first = variable.get()
            variable.set(scope["path"])
            await asyncio.sleep(0.05)
            child = await asyncio.create_task(read())
            await respond(send, f"{first} {variable.get()} {child}".encode())

        async def read():
            return variable.get()
        """
    )
    for _ in range(2):
        answers = {path: background(path) for path in (f"/{number}" for number in range(10))}
        for path, answer in answers.items():
            assert answer.result().text == f"unset {path} {path}"


def test_stopping_the_loop_is_ignored(nginx, serve, fetch):
    serve(
        """
        import asyncio
        from testkit import respond

        async def application(scope, receive, send):
            if scope["path"] == "/stop":
                asyncio.get_running_loop().stop()
            await asyncio.sleep(0.01)
            await respond(send, b"served")
        """
    )
    client = nginx.client()
    assert client.get("/stop").text == "served"
    assert client.get("/").text == "served"
    assert nginx.wait_log("loop.stop()")


def test_an_exception_that_ends_a_loop_ends_its_task_alone(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import respond

        async def leaves():
            raise SystemExit("of a task")

        async def application(scope, receive, send):
            if scope["path"] == "/exit":
                scope["task"] = asyncio.create_task(leaves())
                await asyncio.sleep(0.05)
            await respond(send, b"served")
        """
    )
    client = nginx.client()
    (worker,) = nginx.workers()
    for _ in range(3):
        assert client.get("/exit").text == "served"
        assert client.get("/").text == "served"
    assert nginx.workers() == [worker]
    assert nginx.wait_log("SystemExit")


def test_one_that_ends_a_loop_as_a_message_comes_ends_its_task_alone(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import record, respond

        async def first(receive):
            await receive()
            raise SystemExit("of a task")

        async def application(scope, receive, send):
            if scope["path"] == "/exit":
                waiting = asyncio.create_task(first(receive))
                await asyncio.sleep(0)
                record("waiting", "receive")
                await asyncio.wait([waiting])
            await respond(send, b"served")
        """
    )
    client = nginx.client()
    (worker,) = nginx.workers()
    for count in range(1, 4):
        with nginx.connect() as connection:
            connection.send("POST /exit HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
            nginx.wait_recorded("waiting", count)
            connection.send(b"ab")
            assert connection.response().body == b"served"
        assert client.get("/").text == "served"
    assert nginx.workers() == [worker]
    assert nginx.wait_log("SystemExit")
    assert nginx.wait_log("an exception has left the loop")


def test_a_finalizer_may_ask_the_loop_at_any_time(nginx, serve):
    """Also while the module has a task step: the collector runs when it likes."""
    serve(
        """
        import asyncio
        import gc
        from testkit import respond

        called = []

        class Cyclic:
            def __init__(self):
                self.own = self

            def __del__(self):
                asyncio.get_running_loop().call_soon(called.append, 1)

        async def application(scope, receive, send):
            if scope["path"] == "/called":
                gc.set_threshold(700)
                gc.collect()
                await asyncio.sleep(0)
                return await respond(send, str(len(called)).encode())
            await receive()
            await respond(send)
            gc.collect()
            # It is collected after so many more objects, somewhere in the next request.
            Cyclic()
            gc.set_threshold(int(scope["query_string"]))
        """,
        # The stack that it logs is Python's work on another thread, where the collector may run.
        http="asgi_stall_warning off;",
    )
    client = nginx.client()
    for number in range(1, 400):
        client.get(f"/?{number // 2 + 1}")
    assert client.get("/called").text == "399"
    assert not nginx.log_lines("Traceback")


def test_cancelling_all_tasks_does_not_end_the_loop(nginx, serve):
    serve(
        """
        import asyncio
        from testkit import respond

        async def application(scope, receive, send):
            if scope["path"] == "/cancel":
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                await asyncio.sleep(0.01)
            await respond(send, b"served")
        """
    )
    client = nginx.client()
    for _ in range(3):
        assert client.get("/cancel").text == "served"
        assert client.get("/").text == "served"


def test_an_exception_of_a_task_that_nobody_awaits_is_in_the_log(nginx, serve):
    serve(
        """
        import asyncio
        import gc
        from testkit import respond

        async def fails():
            raise ValueError("nobody awaits this")

        async def application(scope, receive, send):
            task = asyncio.create_task(fails())
            await asyncio.sleep(0.01)
            del task
            gc.collect()
            await respond(send, b"served")
        """
    )
    assert nginx.client().get("/of/the/task").text == "served"
    line = nginx.wait_log("ValueError: nobody awaits this")
    assert "[error]" in line
    assert 'request: "GET /of/the/task ' in line


# Named loops

WHERE = """
    import asyncio
    import threading
    from testkit import gate, record, respond

    async def application(scope, receive, send):
        if scope["path"].endswith("/block"):
            record("blocked")
            gate("unblock")
        thread = threading.current_thread()
        loop = id(asyncio.get_running_loop())
        main = thread is threading.main_thread()
        await respond(send, repr((loop, thread.ident, main)).encode())
"""


@pytest.fixture
def three(nginx):
    """Starts nginx with one application on loop `main`, and two on `one` and `two`."""

    def start(**options):
        locations = ""
        for name in ("one", "two"):
            path = nginx.app(name, WHERE)
            locations += (
                f"location /{name} {{ asgi_app {path}; asgi_event_loop {name};"
                " asgi_lifespan off; }\n"
            )
        path = nginx.app("main_app", WHERE)
        nginx.start(
            f"asgi_app {path}; asgi_lifespan off;",
            server=locations + options.pop("server", ""),
            http="python_event_loop one asyncio; python_event_loop two asyncio;"
            + options.pop("http", ""),
            **options,
        )
        return nginx.client()

    return start


def test_each_named_loop_has_a_thread(three):
    client = three()
    seen = [eval(client.get(path).text) for path in ("/", "/one", "/two", "/", "/one", "/two")]
    assert seen[:3] == seen[3:]
    assert len({loop for loop, _, _ in seen}) == 3
    assert len({thread for _, thread, _ in seen}) == 3
    assert [main for _, _, main in seen[:3]] == [True, False, False]


def test_named_loops_end_at_a_worker_s_exit(nginx, three):
    client = three()
    for path in ("/", "/one", "/two"):
        assert client.get(path).status_code == 200
    nginx.quit(timeout=20)
    assert not nginx.log_lines("[error]")


def test_subprocesses_on_a_named_loop(nginx):
    """Its thread is not the main one, on which asyncio's older child watchers insist."""
    path = nginx.app(
        "app",
        ASKS.format(body="return await run()").replace(
            "async def value",
            """async def run():
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 5")
        return await process.wait()

    async def value""",
        ),
    )
    nginx.start(
        f"asgi_app {path}; asgi_event_loop one; asgi_lifespan off;",
        http="python_event_loop one asyncio;",
    )
    assert nginx.client().get("/").text == "5"
