"""The application of the fuzzer: it does, correctly or not, what the request's X-Plan says.

All bytes that it sends depend on its request's token, so that another request's would be noticed.
It counts what must happen once: `close()`, and the callbacks after a response.
"""

import collections
import gc
import io
import json
import os
import tempfile
import time

from planned import Planned, fail, of_others, plan_of

# Objects of requests that are over, which must not work any more.
kept = collections.deque(maxlen=30)
counts = collections.Counter()
faults = collections.deque(maxlen=100)


def application(environ, start_response):
    if environ["PATH_INFO"].endswith("/stats"):
        kept.clear()
        gc.collect()
        body = json.dumps({"counts": counts, "faults": list(faults)}).encode()
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]
    plan, token = plan_of(environ.get("HTTP_X_PLAN"))
    try:
        call = Call(plan, token, environ, start_response)
    except Exception as error:
        # A plan that the client has corrupted.
        raise RuntimeError("a plan that cannot be followed") from error
    return call.run()


class Call(Planned):
    def __init__(self, plan, token, environ, start_response):
        super().__init__(plan, token)
        self.environ, self.start_response = environ, start_response
        self.input = environ["wsgi.input"]
        # If it may be interrupted anywhere (wsgi_client_abort cancel), it cannot count.
        self.interrupted = environ["SCRIPT_NAME"] == "/cancel"
        self.counts = collections.Counter() if self.interrupted else counts
        self.write = None

    def run(self):
        plan = self.plan
        self.point("start")
        if plan.get("poke"):
            self.poke()
        if plan.get("keep"):
            things = (self.token, self.environ, self.start_response, self.input)
            # Only now, because another thread may use them.
            self.environ["pywsgi.request"].after_response(lambda: kept.append(things))
        self.callbacks()
        if plan.get("read_at", "start") == "start":
            self.read()
        if plan.get("pause"):
            time.sleep(plan["pause"])
        hints = self.environ.get("wsgi.early_hints")
        if plan.get("hints") and hints is not None:
            for _ in range(plan["hints"]):
                hints([("Link", f"</{self.token}>; rel=preload")])
        how = plan.get("start", "once")
        if how not in ("never", "late"):
            self.start()
        self.point("started")
        if how == "twice":
            self.start()
        elif how == "exc_info":
            self.restart()
        for size in plan.get("write", ()):
            self.write(self.block(size))
        self.point("wrote")
        if plan.get("read_at") == "started":
            self.read()
        return self.body()

    def start(self):
        plan = self.plan
        headers = [("X-Token", self.token), ("X-Read", self.seen())]
        headers += [tuple(pair) for pair in plan.get("headers", ())]
        if "HTTP_X_REDIRECT" in self.environ:
            headers.append(("X-Accel-Redirect", self.environ["HTTP_X_REDIRECT"]))
        if plan.get("length") is not None:
            headers.append(("Content-Length", str(plan["length"])))
        self.write = self.start_response(plan.get("status", "200 OK"), headers)

    def restart(self):
        try:
            raise ValueError("the page is replaced")
        except ValueError as error:
            info = (ValueError, error, error.__traceback__)
            headers = [("X-Token", self.token), ("X-Read", self.seen())]
            self.start_response("500 Replaced", headers, info)

    # The request's body

    def read(self):
        """Reads as planned, and compares the result with what the client sends."""
        try:
            for name, *arguments in self.plan.get("read", ()):
                self.read_once(name, arguments)
        except OSError:
            self.read_fault = "OSError"
            if self.plan.get("read_raises"):
                raise

    def read_once(self, name, arguments):
        if name == "rewind":
            if self.input.seekable():
                self.input.seek(0)
                self.read_bytes = 0
            return
        if name == "text":
            # The text is ASCII: as many characters as bytes.
            with io.TextIOWrapper(self.input, encoding="latin-1", newline="") as text:
                self.got(text.read().encode("latin-1"))
            self.read_end = True
            return
        if name == "lines":
            for line in self.input:
                self.got(line)
            self.read_end = True
            return
        if name == "readinto":
            buffer = bytearray(arguments[0])
            size = self.input.readinto(buffer)
            self.got(bytes(buffer[:size]))
            return
        data = getattr(self.input, name)(*arguments)
        if name == "readlines":
            data = b"".join(data)
        self.got(data)
        if name == "read" and arguments in ([], [-1]):
            self.read_end = True

    # The response

    def body(self):
        plan = self.plan
        shape = plan.get("shape", "list")
        sizes = plan.get("blocks", ())
        if shape == "list":
            return [self.block(size) for size in sizes]
        if shape == "tuple":
            return tuple(self.block(size) for size in sizes)
        if shape == "generator":
            return self.generator(sizes)
        if shape == "iterator":
            return Blocks(self, sizes)
        if shape in ("file", "bytesio"):
            data = self.block(sum(sizes))
            file = io.BytesIO(data)
            # Nor open a file: if it is interrupted, the descriptor may be open and owned by nobody.
            if shape == "file" and not self.interrupted:
                # With that name, so that a leaked descriptor tells whose it is.
                fd, path = tempfile.mkstemp(prefix=f"{self.token}-")
                os.unlink(path)
                file = File(io.FileIO(fd, "w+"))
                file.write(data)
                file.seek(0)
            wrapper = self.environ.get("wsgi.file_wrapper")
            return wrapper(file) if wrapper else iter(lambda: file.read(8192), b"")
        if shape == "text":
            return [self.block(size).decode() for size in sizes]
        if shape == "str":
            return "a text"
        if shape == "number":
            return 17
        return None

    def generator(self, sizes):
        self.counts["opened"] += 1
        try:
            yield from self.blocks(sizes)
        finally:
            self.counts["closed"] += 1

    def blocks(self, sizes):
        if self.plan.get("start") == "late":
            self.start()
        for number, size in enumerate(sizes):
            self.point(f"block {number}")
            if self.plan.get("read_at") == "during":
                self.read()
            if self.plan.get("start") == "exc_info late" and number == 1:
                self.restart()
            yield self.block(size)
        self.point(f"block {len(sizes)}")
        if self.plan.get("trailers"):
            self.environ["pywsgi.request"].send_trailers([("X-Sum", self.token)])

    def callbacks(self):
        request = self.environ["pywsgi.request"]
        kind = self.plan.get("callbacks")
        if not kind:
            return
        self.counts["registered"] += 1

        @request.after_response
        def after():
            self.counts["called"] += 1
            if kind == "raise":
                fail("ValueError")

        @request.on_disconnect
        def gone():
            if kind == "raise":
                fail("ValueError")

    def poke(self):
        """Uses objects that other requests have left: nothing of them may affect this one."""
        for token, _environ, start_response, stream in list(kept):
            try:
                write = start_response("200 OK", [("X-Token", "EVIL")])
                write(b"EVIL" * 100)
            except Exception as error:
                counts[f"poked {type(error).__name__}"] += 1
            try:
                if hasattr(stream, "seek") and stream.seekable():
                    stream.seek(0)
                data = stream.read(1000)
            except (OSError, ValueError, RuntimeError):
                continue
            if of_others(token, data):
                faults.append(f"a kept input of {token} gives {data[:60]!r}")


class File(io.BufferedRandom):
    """A file that counts its close()."""

    def __init__(self, raw):
        super().__init__(raw)
        counts["opened"] += 1

    def close(self):
        if not self.closed:
            counts["closed"] += 1
        super().close()


class Blocks:
    """An iterable that counts its close()."""

    def __init__(self, call, sizes):
        self.call, self.blocks, self.closed = call, call.blocks(sizes), False
        call.counts["opened"] += 1

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.blocks)

    def close(self):
        if self.closed:
            faults.append(f"close() of {self.call.token} is called twice")
        self.closed = True
        self.call.counts["closed"] += 1
        self.call.point("close")
