"""A fuzzer: requests and applications, sound and broken, through a real nginx (`make fuzz`).

    FUZZ_SECONDS=60     how long it runs
    FUZZ_SEED=1234      repeats the cases of that run; without it, a run prints a seed of its own
    FUZZ_CASE=56        only that case of the seed, again and again
    FUZZ_LOG=info       the level of nginx's error log; default: error

A case is a connection: some requests, one after another or all at once, in pieces, corrupted at
random, or cut off. What is checked: a complete response is that of its request, byte by byte, and
the next one begins where it ends; a failed one never looks complete; the worker lives, and its log
has nothing fatal; at the end it has as many threads and descriptors as before, and every close()
and callback has been called once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import socket
import sys
import threading
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.fuzzer import PATIENCE, SLACK, Finding, Fuzzer, main
from fuzz.planned import pattern
from fuzz.requests import LOCATIONS, Request, change, make_request
from harness import PROJECT, Nginx
from process_memory import anonymous, descriptors, threads
from rawhttp import Connection, Response, wait_for

# The tasks of a loop that has no request.
TASKS = 2
TOKEN = re.compile(rb"c(\d+)r\d+\)")

HTTP = """
    python_thread_pool default threads=4;
    client_body_buffer_size 8k;
    client_header_timeout 5s;
    client_body_timeout 5s;
    lingering_timeout 2s;
    keepalive_requests 7;
"""


@dataclass
class Case:
    """One connection: what is sent on it, and how."""

    number: int
    requests: list[Request]
    pieces: list[bytes]
    pause: float
    lockstep: bool
    # None, or how the client leaves before it has all responses.
    leaves: str | None
    slow_reader: bool
    received: bytearray = field(default_factory=bytearray)


def make_case(seed: int, number: int) -> Case:
    source = random.Random(f"{seed}/{number}")
    count = source.choice([1, 1, 2, 3, 6])
    requests = [make_request(source, f"c{number}r{index}") for index in range(count)]
    if source.random() < 0.25:
        change(source, requests[-1])
        if source.random() < 0.3:
            requests.append(make_request(source, f"c{number}r{count}"))
            requests[-1].answerable = False
    lockstep = source.random() < 0.4
    data = b"".join(request.data for request in requests)
    leaves = None
    if source.random() < 0.2:
        leaves = source.choice(["close", "reset", "shutdown"])
        data = data[: source.randrange(len(data) + 1)]
        lockstep = False
    pieces = [data]
    if source.random() < 0.4:
        marks = sorted(
            source.randrange(len(data) + 1) for _ in range(source.choice([1, 2, 10, 30]))
        )
        pieces = [data[a:b] for a, b in itertools.pairwise([0, *marks, len(data)])]
    pause = source.choice([0, 0, 0.0005, 0.003])
    return Case(number, requests, pieces, pause, lockstep, leaves, source.random() < 0.1)


class Talk(Connection):
    """A connection that keeps what it has received."""

    def __init__(self, sock: socket.socket, case: Case) -> None:
        super().__init__(sock)
        self.case = case
        self.failed_late = False

    def fill(self) -> bool:
        before = len(self.pending)
        if self.case.slow_reader:
            time.sleep(0.0005)
        more = super().fill()
        self.case.received += self.pending[before:]
        return more

    def answer(self, *, head_only: bool) -> Response:
        """The next final response, with its trailers."""
        while True:
            answer = self.head()
            if answer.status >= 200:
                break
        if answer.get("Content-Length") is not None and answer.get("Transfer-Encoding") is not None:
            raise Finding("both Content-Length and Transfer-Encoding")
        if not head_only and answer.status not in (204, 304):
            self.take_body(answer)
        return answer

    def take_chunks(self, answer: Response) -> None:
        """As in the base class, with trailers."""
        answer.complete = False
        while (line := self.until(b"\r\n")) is not None:
            size = int(line, 16)
            if size == 0:
                # Trailers, up to an empty line.
                while (line := self.until(b"\r\n")) is not None:
                    if not line:
                        answer.complete = True
                        break
                break
            data = self.take(size)
            answer.chunks.append(data)
            if len(data) < size or self.until(b"\r\n") is None:
                break


def run_case(nginx: Nginx, case: Case) -> None:
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    if case.slow_reader:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", nginx.port))
    with Talk(sock, case) as talk:
        if case.lockstep:
            for request in case.requests:
                if not send_beside(talk, [request.data], case, [request]):
                    break
        else:
            send_beside(talk, case.pieces, case, case.requests)
    check_bytes(case, bytes(case.received))


def send_beside(talk: Talk, pieces: list[bytes], case: Case, requests: list[Request]) -> bool:
    """Sends on another thread, because a client that only sends may never be answered; as `ask`."""
    sender = threading.Thread(target=send, args=(talk, pieces, case))
    sender.start()
    try:
        return ask(talk, requests)
    except TimeoutError as error:
        raise Finding(f"no answer within {PATIENCE} s") from error
    finally:
        # If the server has closed, the sender notices with its next send.
        sender.join()


def send(talk: Talk, pieces: list[bytes], case: Case) -> None:
    try:
        for piece in pieces:
            talk.sock.sendall(piece)
            if case.pause:
                time.sleep(case.pause)
        if case.leaves == "shutdown":
            talk.sock.shutdown(socket.SHUT_WR)
        elif case.leaves is not None:
            if case.leaves == "reset":
                linger = b"\1\0\0\0\0\0\0\0"
                talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            # Wakes the other thread, which closes the socket.
            talk.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The server has closed; its last response tells whether it may.
        pass


def ask(talk: Talk, requests: list[Request]) -> bool:
    """Takes the answers; False if the connection is at its end."""
    case = talk.case
    if case.leaves is not None or not all(request.answerable for request in requests):
        sound = list(itertools.takewhile(lambda request: request.answerable, requests))
        if case.leaves is None:
            if not take_answers(talk, sound):
                return False
            # Not earlier: nginx would take it for a client that has left. Without it, nginx may
            # wait for the rest of a corrupted request.
            with contextlib.suppress(OSError):
                talk.sock.shutdown(socket.SHUT_WR)
        talk.rest()
        return False
    return take_answers(talk, requests)


def take_answers(talk: Talk, requests: list[Request]) -> bool:
    for at, request in enumerate(requests):
        try:
            answer = talk.answer(head_only=request.method == "HEAD")
        except AssertionError as error:
            # Of one that failed nothing may have gone, where the client has not taken those before,
            # or where its head waits for a subrequest.
            waits = request.lenient or not talk.case.lockstep
            unsent = waits and not request.plan.sound and not talk.pending
            # With trailers to come, a response with all of its bytes may still fail.
            ended = talk.failed_late and not talk.pending
            if unsent or ended or may_be_cut(talk.case, at):
                return False
            raise Finding(f"request {at} ({request.describe()}): {error}") from error
        if not answer.complete and may_be_cut(talk.case, at):
            return False
        check_answer(request, answer, at)
        trailers = ["Trailer", "X-Sum"] in request.plan.headers
        talk.failed_late = trailers and not request.plan.sound
        if not answer.complete or answer.framing == "close":
            talk.rest()
            return False
        if (answer.get("Connection") or "").lower() == "close":
            return False
    return True


def may_be_cut(case: Case, at: int) -> bool:
    """May a sound response be cut, because of a later one on the same connection?

    nginx then closes with unread data of the client, and the kernel drops what it has not sent yet
    (RST).
    """
    behind = case.requests[at + 1 :]
    return not case.lockstep and any(later.lenient or not later.plan.sound for later in behind)


def check_answer(request: Request, answer: Response, at: int) -> None:
    plan = request.plan

    def find(what: str) -> None:
        shown = f"{answer.status}, {answer.framing}, complete {answer.complete}"
        shown += f", {str(answer.headers)[:500]}"
        raise Finding(f"request {at} ({request.describe()})\n  has {shown}\n  {what}")

    tokens = answer.all("X-Token")
    if tokens and tokens != [plan.token] and request.location != "intercepted":
        find(f"the response is that of {tokens}")
    if "BAD" in (answer.get("X-Read") or ""):
        find("the body that was read is not the one that was sent")
    if answer.get("X-Injected") is not None:
        find("a header was injected")
    if request.lenient:
        return
    if not tokens:
        if plan.sound:
            find("a sound application was not heard")
        if answer.status < 500:
            find("a broken application's response without its token is no error")
        return
    if plan.sound and answer.status != plan.code:
        find(f"the status is not {plan.code}")
    seen = answer.get("X-Read")
    reads = plan.steps.get("read_at", "start") == "start" and plan.reads_all and plan.sound
    if reads and seen != f"{request.body} end":
        find(f"the application has read {seen!r} of {request.body}")
    if request.method == "HEAD" or answer.status in (204, 304):
        return
    check_body(request, answer, find)


def check_body(request: Request, answer: Response, find) -> None:
    plan = request.plan
    body = decoded(answer)
    wholes = [pattern(plan.token, plan.total)]
    if plan.length is not None and 0 <= plan.length < plan.total:
        wholes = [wholes[0][: plan.length]]
        if plan.steps.get("start") == "exc_info late":
            wholes.append(pattern(plan.token, plan.total))
    if not any(expected.startswith(body) for expected in wholes):
        find(f"the body of {len(body)} bytes is not that of {plan.token}: {body[:100]!r}")
    if plan.sound:
        if not answer.complete:
            find(f"a sound response of {plan.total} bytes is cut off after {len(body)}")
        if body not in wholes:
            find(f"a sound response has {len(body)} of its {plan.total} bytes")
    elif answer.complete and answer.framing != "close":
        if body not in wholes:
            find(f"a failed response of {len(body)} of {plan.total} bytes looks whole")
        last = plan.steps.get("raise", {}).get("at") == f"block {len(plan.steps['blocks'])}"
        if last and plan.length is None and answer.status < 500:
            find("an application that has raised after its last block has a whole response")


def decoded(answer: Response) -> bytes:
    if answer.get("Content-Encoding") != "gzip":
        return answer.body
    return zlib.decompressobj(31).decompress(answer.body)


def check_bytes(case: Case, received: bytes) -> None:
    if b"EVIL" in received or b"X-Injected: " in received:
        raise Finding("what nobody may send was sent")
    others = {number for number in TOKEN.findall(received) if int(number) != case.number}
    if others:
        raise Finding(f"bytes of the cases {sorted(others)}")


class Requests(Fuzzer):
    name = "fuzz"
    seconds = 60

    def configure(self) -> dict[str, str]:
        modules = {"fuzzed": "application", "fuzzed_asgi": "application_asgi", "planned": "planned"}
        for module, source in modules.items():
            self.nginx.app(module, (Path(__file__).parent / f"{source}.py").read_text())
        blocks = "".join(self.location(name, more) for name, more in LOCATIONS.items())
        return {"server": blocks, "http": HTTP}

    def location(self, name: str, more: str) -> str:
        protocol = "asgi" if name.startswith("asgi") else "wsgi"
        app = self.nginx.apps / ("fuzzed_asgi.py" if protocol == "asgi" else "fuzzed.py")
        own = f"{protocol}_app {app}; {protocol}_script_name /{name};"
        return f"location /{name}/ {{ {own} {more} }}\n"

    def make_case(self, number: int) -> Case:
        return make_case(self.seed, number)

    def run_case(self, case: Case) -> None:
        run_case(self.nginx, case)

    def describe(self, case: Case) -> str:
        """Also keeps the bytes of the case in target/fuzz."""
        folder = PROJECT / "target" / "fuzz"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{self.seed}-{case.number}"
        (folder / f"{name}.sent").write_bytes(b"".join(request.data for request in case.requests))
        (folder / f"{name}.received").write_bytes(case.received)
        how = f"lockstep {case.lockstep}, leaves {case.leaves}, {len(case.pieces)} pieces"
        requests = "\n".join(f"  {request.describe()}" for request in case.requests)
        return f"({how})\n{requests}\n"

    def settle(self, before: tuple[int, int, int] | None = None) -> tuple[int, int, int]:
        """Descriptors, threads and memory of the worker.

        Waits for no more descriptors than there were before, because connections may linger.
        """
        most = before[0] if before else None
        client = self.nginx.client()

        def balanced() -> bool:
            all_even = True
            for path in "/pool/stats", "/asgi/stats":
                stats = client.get(path).json()
                counts = stats["counts"]
                if stats["faults"]:
                    raise AssertionError(f"the application's faults: {stats['faults']}")
                even = counts.get("opened") == counts.get("closed")
                even &= counts.get("registered") == counts.get("called")
                # The loop's own, and the lifespan.
                all_even &= even and stats.get("tasks", 0) <= TASKS
            return all_even

        wait_for(balanced, PATIENCE, "every close() and callback called")
        client.close()
        for name in LOCATIONS.keys() - {"validated", "asgi-validated"}:
            answer = self.nginx.raw(
                f"GET /{name}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            if b"(none)" not in answer:
                raise AssertionError(f"/{name}/ answers {answer[:300]!r}")
        worker, until, counts = self.worker, time.monotonic() + PATIENCE, []

        def quiet() -> bool:
            counts.append(descriptors(worker))
            steady = len(counts) > 10 and len(set(counts[-10:])) == 1
            return steady and (most is None or counts[-1] <= most or time.monotonic() > until)

        wait_for(quiet, 2 * PATIENCE, "a steady number of descriptors")
        return descriptors(worker), threads(worker), anonymous(worker)

    def compare(self, before: tuple[int, int, int], after: tuple[int, int, int]) -> None:
        # Threads start on demand: four of the pool, and eight for callbacks.
        for what, was, now, more in zip(
            ["descriptors", "threads", "bytes"], before, after, [0, 12, SLACK], strict=True
        ):
            if now > was + more:
                self.findings.append(f"the worker had {was} {what}, and has {now}")
        if after[0] > before[0]:
            links = sorted(os.readlink(link) for link in Path(f"/proc/{self.worker}/fd").iterdir())
            self.findings.append(f"its descriptors: {links}")


if __name__ == "__main__":
    sys.exit(main(Requests))
