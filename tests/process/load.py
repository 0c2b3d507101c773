"""Clients that ask all the time, while a test does something to the processes."""

from __future__ import annotations

import concurrent.futures
import threading
from collections import Counter
from collections.abc import Sequence

from harness import Nginx


class Load:
    """A client for each path, on a connection that it keeps unless its fields say otherwise. Each
    has an answer as this begins."""

    def __init__(self, nginx: Nginx, paths: Sequence[str], **headers: str) -> None:
        self.nginx = nginx
        self.paths = paths
        self.headers = headers
        self.stop = False
        self.answered = threading.Semaphore(0)
        self.executor = concurrent.futures.ThreadPoolExecutor(len(paths))

    def __enter__(self) -> Load:
        self.clients = [self.executor.submit(self._ask, path) for path in self.paths]
        for _ in self.paths:
            assert self.answered.acquire(timeout=60), "no answer"
        return self

    def _ask(self, path: str) -> Counter:
        found: Counter = Counter()
        with self.nginx.client(headers=self.headers) as client:
            while not self.stop:
                answer = client.get(path)
                found[answer.status_code, answer.text] += 1
                if found.total() == 1:
                    self.answered.release()
        return found

    def __exit__(self, *_) -> None:
        self.stop = True
        self.executor.shutdown()

    def answers(self) -> list[set]:
        """The statuses and bodies, for each client."""
        return [set(client.result()) for client in self.clients]

    def count(self) -> int:
        return sum(sum(client.result().values()) for client in self.clients)
