"""The fuzzer's application for ASGI: it does, correctly or not, what the request's X-Plan says, as
`application.py` does for WSGI. What PEP 3333 alone has is done in the nearest way.
"""

import asyncio
import collections
import gc
import json
import os
import re
import tempfile

from planned import PLAIN, Planned, of_others, plan_of

STATUS = re.compile(r"([2-9]\d\d)( [^\x00-\x1f]*)?")

# Calls that are over, which must not work any more.
kept = collections.deque(maxlen=30)
counts = collections.Counter()
faults = collections.deque(maxlen=100)


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    if scope["path"].endswith("/stats"):
        kept.clear()
        gc.collect()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        found = {"counts": counts, "faults": list(faults), "tasks": len(tasks)}
        body = json.dumps(found).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    plan, token = PLAIN, "none"
    for name, value in scope["headers"]:
        if name == b"x-plan":
            plan, token = plan_of(value)
    try:
        call = Call(plan, token, scope, receive, send)
    except Exception as error:
        # A plan that the client has corrupted.
        raise RuntimeError("a plan that cannot be followed") from error
    await call.run()


async def lifespan(receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class Call(Planned):
    def __init__(self, plan, token, scope, receive, send):
        super().__init__(plan, token)
        self.scope, self.receive, self.send = scope, receive, send
        self.extensions = scope["extensions"]
        self.trailers = bool(plan.get("trailers")) and "http.response.trailers" in self.extensions

    async def run(self):
        counts["opened"] += 1
        try:
            await self.follow()
        finally:
            counts["closed"] += 1
            if self.plan.get("keep"):
                things = (self.token, self.receive, self.send)
                # Once nginx has all of the response.
                asyncio.get_running_loop().call_later(0.1, kept.append, things)

    async def follow(self):
        plan = self.plan
        self.point("start")
        if plan.get("poke"):
            await self.poke()
        if plan.get("read_at", "start") == "start":
            await self.read()
        if plan.get("pause"):
            await asyncio.sleep(plan["pause"])
        how = plan.get("start", "once")
        if how not in ("never", "late"):
            await self.start()
        if plan.get("hints") and "http.response.early_hint" in self.extensions:
            for _ in range(plan["hints"]):
                link = f"</{self.token}>; rel=preload".encode()
                await self.send({"type": "http.response.early_hint", "links": [link]})
        self.point("started")
        if how == "twice":
            await self.start()
        for size in plan.get("write", ()):
            await self.body(self.block(size))
        self.point("wrote")
        if plan.get("read_at") == "started":
            await self.read()
        if how == "late":
            await self.start()
        await self.blocks(plan.get("shape", "list"), plan.get("blocks", ()))
        self.point("close")

    async def start(self):
        plan = self.plan
        status = "500 Replaced" if plan.get("start") == "exc_info" else plan.get("status", "200")
        headers = [("X-Token", self.token), ("X-Read", self.seen())]
        if plan.get("start") != "exc_info":
            headers += [tuple(pair) for pair in plan.get("headers", ())]
            if plan.get("length") is not None:
                headers.append(("Content-Length", str(plan["length"])))
        sound = STATUS.fullmatch(status)
        await self.send(
            {
                "type": "http.response.start",
                "status": int(sound[1]) if sound else status,
                "headers": [encoded(pair) for pair in headers],
                "trailers": self.trailers,
            }
        )

    # The request's body

    async def read(self):
        """Receives as planned, and compares the result with what the client sends."""
        for name, *arguments in self.plan.get("read", ()):
            whole = name in ("lines", "text", "readlines") or arguments in ([], [-1])
            if name == "rewind":
                continue
            while not self.read_end and not self.read_fault:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    self.read_fault = "disconnected"
                    return
                self.got(message["body"])
                self.read_end = not message["more_body"]
                if not whole:
                    break

    # The response

    async def body(self, data, more=True):
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def blocks(self, shape, sizes):
        if shape == "none":
            await self.body(None, more=False)
        elif shape == "str":
            await self.body("a text", more=False)
        elif shape == "number":
            await self.body(17, more=False)
        elif shape == "text":
            for size in sizes:
                await self.body(self.block(size).decode())
            await self.body(b"", more=False)
        elif shape == "file" and "http.response.zerocopysend" in self.extensions:
            await self.file(self.block(sum(sizes)))
        else:
            await self.in_parts(shape, sizes)
        if self.trailers:
            headers = [(b"x-sum", self.token.encode())]
            await self.send({"type": "http.response.trailers", "headers": headers})

    async def in_parts(self, shape, sizes):
        planned = list(sizes)
        if shape in ("file", "bytesio"):
            planned = [sum(sizes)]
        for number, size in enumerate(planned):
            self.point(f"block {number}")
            if self.plan.get("read_at") == "during":
                await self.read()
            if self.plan.get("start") == "exc_info late" and number == 1:
                raise ValueError("the page cannot be replaced")
            last = shape in ("list", "tuple") and number == len(planned) - 1
            await self.body(self.block(size), more=not last)
            if last:
                return
            if shape == "iterator":
                await asyncio.sleep(0)
        self.point(f"block {len(planned)}")
        await self.body(b"", more=False)

    async def file(self, data):
        fd, path = tempfile.mkstemp(prefix=f"{self.token}-")
        try:
            os.unlink(path)
            os.write(fd, data)
            half = len(data) // 2
            kind = "http.response.zerocopysend"
            await self.send(
                {"type": kind, "file": fd, "offset": 0, "count": half, "more_body": True}
            )
            await self.send({"type": kind, "file": fd, "offset": half})
        finally:
            os.close(fd)

    async def poke(self):
        """Uses calls that are over: nothing of them may affect this one."""
        for token, receive, send in list(kept):
            try:
                await asyncio.wait_for(send({"type": "http.response.body", "body": b"EVIL"}), 5)
                faults.append(f"a call of {token} that is over has sent something")
            except (RuntimeError, OSError, AssertionError) as error:
                # The last is that of asgi_debug, of a call that never started a response.
                counts[f"poked {type(error).__name__}"] += 1
            message = await asyncio.wait_for(receive(), 5)
            # A body that was not received is still there.
            if of_others(token, message.get("body", b"")):
                faults.append(f"a kept receive of {token} gives {message!r}")


def encoded(pair):
    return tuple(encoded_part(part) for part in pair)


def encoded_part(part):
    try:
        return part.encode("latin-1")
    except (AttributeError, UnicodeEncodeError):
        # What no application may send.
        return part
