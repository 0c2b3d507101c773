"""Django's ASGI handler and Channels: views, the ORM, sessions, and a chat, also in a browser."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from harness import free_port
from rawhttp import wait_for
from websockets.exceptions import InvalidStatus


@pytest.fixture
def chat(nginx, served_asgi):
    """`chat()` starts nginx with the chat, whose database it makes.

    redis: the URL of the channel layer; without one it is in memory. Others as `Nginx.start`.
    """

    def start(redis: str = "", location: str = "", **options):
        (nginx.data / "chat.sqlite3").touch()
        environment = {"CHAT_DATA": str(nginx.data), "CHAT_SECRET": "not-a-real-secret"}
        environment["CHAT_REDIS"] = redis
        place = served_asgi.deploy("channels_chat")
        subprocess.run(
            [sys.executable, place.folder / "manage.py", "migrate", "--run-syncdb", "-v", "0"],
            env={**os.environ, **environment, "DJANGO_SETTINGS_MODULE": "site_of_chat.settings"},
            check=True,
        )
        place.share(nginx.data, writable=True)
        nginx.data.chmod(0o777)
        place.share(place.folder, writable=False)
        nginx.start(
            f"asgi_app site_of_chat.asgi:application; client_max_body_size 16m; {location}",
            http=f"python_path {place.folder}; python_env "
            + " ".join(f"{name}={value}" for name, value in environment.items() if value)
            + f"; {options.pop('http', '')}",
            **options,
        )
        return nginx.client()

    return start


@pytest.fixture
def redis(nginx):
    """The URL of a Redis of this test's."""
    server = shutil.which("redis-server")
    assert server, "no redis-server: make test-deps"
    folder = nginx.root / "redis"
    folder.mkdir()
    port = free_port()
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(folder)]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_for(
        lambda: b"Ready to accept" in (folder / "log").read_bytes() or process.poll() is not None,
        30,
        "Redis",
    )
    assert process.poll() is None, (folder / "log").read_text()
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(30)


# Django over HTTP


@pytest.mark.parametrize("http2", [False, True])
def test_views_of_both_kinds(nginx, chat, picture, http2):
    chat(http2=http2)
    client = nginx.client(http2=http2)
    assert "Seen 1" in client.get("/").text
    assert "Seen 2" in client.get("/").text
    assert client.get("/later").text == "later"
    assert client.get("/login?name=ann").text == "welcome"
    assert client.get("/lines/lobby").json() == {"lines": [], "user": "ann"}
    assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
    data = picture * 10
    answer = client.post("/upload", files={"file": ("a.bin", data)}).json()
    expected = hashlib.sha256(data).hexdigest()
    assert answer == {"name": "a.bin", "size": len(data), "sha256": expected}
    assert not nginx.log_lines("[error]")
    # Django warns that it reads a file by an iterator that is not async.
    file = client.get("/file")
    assert "attachment" in file.headers["content-disposition"]
    assert "as_attachment" in file.text
    assert client.get("/nowhere").status_code == 404


def test_a_client_that_leaves_a_view(nginx, chat):
    """Django cancels the view; that is no error."""
    chat()
    for _ in range(10):
        connection = nginx.connect()
        connection.get("/later")
        connection.close()
    assert nginx.client().get("/later").text == "later"
    assert not nginx.log_lines("[error]")


# Channels


@pytest.fixture
def talk(websocket):
    """As `websocket`, from a page of this site, which the application demands."""
    return lambda path, **options: websocket(path, **{"origin": "http://127.0.0.1", **options})


def say(socket, name: str, text: str) -> None:
    socket.send(json.dumps({"name": name, "text": text}))


def hear(socket) -> dict:
    return json.loads(socket.recv(timeout=60))


def test_a_chat_in_memory(nginx, chat, talk):
    client = chat()
    with talk("/talk/lobby") as ann, talk("/talk/lobby") as ben:
        assert [hear(socket)["lines"] for socket in (ann, ben)] == [[], []]
        with talk("/talk/elsewhere") as other:
            hear(other)
            for number, socket in enumerate((ann, ben, ann)):
                say(socket, "x", f"snow ❄ {number}")
                expected = {"name": "x", "text": f"snow ❄ {number}"}
                assert hear(ann) == hear(ben) == expected
            say(other, "y", "alone")
            assert hear(other)["text"] == "alone"
    lines = client.get("/lines/lobby").json()["lines"]
    assert lines == [f"snow ❄ {number}" for number in range(3)]
    with talk("/talk/lobby") as late:
        assert hear(late)["lines"] == lines


def test_a_session_s_user(nginx, chat, talk):
    client = chat()
    client.get("/login?name=ann")
    cookie = f"sessionid={client.cookies['sessionid']}"
    with talk("/talk/lobby", additional_headers={"Cookie": cookie}) as socket:
        assert hear(socket)["user"] == "ann"
    with talk("/talk/lobby") as socket:
        assert hear(socket)["user"] == "nobody"


def test_an_origin_and_a_room_that_are_refused(chat, talk):
    chat()
    for path, options in (
        ("/talk/closed", {}),
        ("/talk/lobby", {"origin": "https://evil.example"}),
    ):
        with pytest.raises(InvalidStatus) as refused, talk(path, **options):
            pass
        assert refused.value.response.status_code == 403


def test_a_chat_over_redis_between_workers(nginx, chat, redis, talk):
    """What is said to one worker is heard by the pages of the other."""
    chat(redis, workers=2)
    sockets: dict[int, list] = {}

    def both() -> bool:
        socket = talk("/talk/lobby")
        sockets.setdefault(hear(socket)["worker"], []).append(socket)
        return len(sockets) == 2

    wait_for(both, 60, "a socket in each worker")
    assert set(sockets) == set(nginx.workers())
    (one, *_), (two, *_) = sockets.values()
    for number in range(5):
        say((one, two)[number % 2], "x", str(number))
        for socket in [each for group in sockets.values() for each in group]:
            assert hear(socket) == {"name": "x", "text": str(number)}
    for socket in [each for group in sockets.values() for each in group]:
        socket.close()


@pytest.mark.parametrize("layer", ["memory", "redis"])
def test_two_pages_of_a_browser_talk(request, nginx, chat, browser, layer):
    if layer == "redis":
        chat(request.getfixturevalue("redis"), workers=2)
    else:
        chat()
    one, two = (browser.open(nginx.url("/?room=kitchen")) for _ in range(2))
    for page in (one, two):
        page.wait("state.textContent.startsWith('open')")
    for page, word in ((one, "hello"), (two, "❄ you too"), (one, "bye")):
        page.evaluate(f"text.value = {json.dumps(word)}; form.requestSubmit()")
        for each in (one, two):
            each.wait(f"lines.textContent.includes({json.dumps(word)})")
    expected = ["Chat: hello", "Chat: ❄ you too", "Chat: bye"]
    shown = "[...lines.children].map((line) => line.textContent)"
    assert one.evaluate(shown) == two.evaluate(shown) == expected
    # A page that is loaded again reads what was said.
    two.go(nginx.url("/?room=kitchen&again"))
    two.wait("lines.children.length === 3")
    assert not nginx.log_lines("[error]")


def test_pages_of_a_browser_see_a_reload(nginx, chat, browser):
    """An open WebSocket gets 1012 (Service Restart)."""
    chat(http="python_drain_timeout 2s;")
    page = browser.open(nginx.url("/"))
    page.wait("state.textContent.startsWith('open')")
    nginx.reload()
    assert page.wait("state.textContent.startsWith('closed') && state.textContent") == "closed 1012"
    page.go(nginx.url("/?again"))
    page.wait("state.textContent.startsWith('open')")
