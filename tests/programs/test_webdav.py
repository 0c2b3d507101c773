"""A WebDAV server: WsgiDAV in nginx, with curl, cadaver, webdav4 and litmus as its clients."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from webdav4.client import Client, ResourceNotFound

# dav.py: WsgiDAV's configuration.
APPLICATION = """
    from wsgidav.wsgidav_app import WsgiDAVApp

    application = WsgiDAVApp({{
        "provider_mapping": {{"/": "{folder}"}},
        "mount_path": "/dav",
        "http_authenticator": {{"accept_basic": True, "accept_digest": True}},
        "simple_dc": {{"user_mapping": {{"*": {{"ann": {{"password": "s3cret"}}}}}}}},
        "lock_storage": True,
        "property_manager": True,
        "verbose": 1,
    }})
"""

# Locks are in a worker's memory, so there is one worker. Uploads may have any length.
HTTP = "python_thread_pool dav threads=4 max_queue=256;"
LOCATION = """
    location /dav {{
        wsgi_app {app};
        wsgi_script_name /dav;
        wsgi_thread_pool dav;
        wsgi_request_buffering {buffering};
        client_max_body_size 0;
        client_body_temp_path tmp/body;
    }}
"""

USER = ("ann", "s3cret")
PROPFIND = (
    '<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:getcontentlength/></D:prop>'
    "</D:propfind>"
)
LOCKINFO = (
    '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    "<D:locktype><D:write/></D:locktype><D:owner>ann</D:owner></D:lockinfo>"
)


class OfUnknownLength:
    """A file to upload of unknown length, like one that comes through a pipe."""

    def __init__(self, content: bytes) -> None:
        self.read = io.BytesIO(content).read


class Share:
    """The server, its folder, its URL and its clients."""

    def __init__(self, nginx, folder, protocol: str, buffering: str) -> None:
        self.nginx, self.folder = nginx, folder
        self.http2, self.buffering = protocol == "h2", buffering
        self.url = nginx.url("/dav", scheme="https" if self.http2 else "http")

    def client(self) -> httpx.Client:
        return self.nginx.client(http2=self.http2, auth=USER)


@pytest.fixture
def share(nginx, shared, protocol, buffering):
    folder = shared("files")
    app = nginx.app("dav", APPLICATION.format(folder=folder))
    server = LOCATION.format(app=app, buffering=buffering)
    nginx.start(http=HTTP, server=server, http2=protocol == "h2")
    return Share(nginx, folder, protocol, buffering)


@pytest.fixture
def webdav4(share):
    options = {"http2": share.http2, "verify": False, "trust_env": False, "timeout": 120}
    client = Client(share.url, auth=USER, **options)
    yield client
    client.http.close()


@pytest.fixture
def curl(run, share):
    """`curl(path, option…)` returns (status, HTTP version, output of `--verbose`)."""

    def command(path, *options, **others):
        done = run(
            *["curl", "--silent", "--show-error", "--verbose", "--insecure"],
            *["--http2" if share.http2 else "--http1.1", "--user", ":".join(USER)],
            *["--write-out", "\n%{http_code} %{http_version}", "--path-as-is"],
            *[*options, share.url + path],
            **others,
        )
        status, version = done.stdout.rsplit("\n", 1)[1].split()
        return int(status), version, done.stderr

    return command


@pytest.mark.parametrize("size", [0, 1, 70_000, 20_000_000])
def test_curl_puts_by_length_and_chunked(share, curl, digest, tmp_path, size):
    version = "2" if share.http2 else "1.1"
    source, copy = tmp_path / "source", tmp_path / "copy"
    for name in ("by-length", "of-unknown-length", "again"):
        source.write_bytes(os.urandom(size))
        put = ["--upload-file", source if name == "by-length" else "-"]
        with source.open("rb") as file:
            status, spoken, said = curl(f"/{name}", *put, input=file)
        assert (status, spoken) == (201, version)
        chunked = "> Transfer-Encoding: chunked" in said
        assert chunked == (name != "by-length" and not share.http2)
        assert digest(share.folder / name) == digest(source)
        status, _, said = curl(f"/{name}", "--output", copy)
        assert status == 200
        assert re.search(rf"(?i)^< content-length: {size}\r?$", said, re.MULTILINE)
        # curl makes no file of an empty body.
        assert (digest(copy) if size else digest(b"")) == digest(source)
        copy.unlink(missing_ok=True)
    # An existing file is replaced, also by a shorter one.
    status, _, _ = curl("/again", "--upload-file", "-", input=b"short")
    assert status == 204
    assert (share.folder / "again").read_bytes() == b"short"


@pytest.mark.parametrize("protocol", ["http/1.1"], indirect=True)
def test_an_upload_waits_for_100_continue(share, curl, digest, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    for length in (source, "-"):
        with source.open("rb") as file:
            # Longer than a test may take, so that the test fails if the client gets no 100.
            wait = ["--header", "Expect: 100-continue", "--expect100-timeout", "1000"]
            status, _, said = curl("/file", *wait, "--upload-file", length, input=file)
        assert status in (201, 204)
        assert "< HTTP/1.1 100 Continue" in said
        assert digest(share.folder / "file") == digest(source)
    # A client that may not write is told so; unbuffered, before it has sent the body.
    with source.open("rb") as file:
        status, _, said = curl(
            "/none/file", *wait, "--upload-file", "-", "--user", "ann:wrong", input=file
        )
    assert status == 401
    assert ("< HTTP/1.1 100 Continue" in said) == (share.buffering == "on")


def test_ranges_and_conditions(share):
    content = os.urandom(300_000)
    client = share.client()
    assert client.put("/dav/file", content=content).status_code == 201
    whole = client.get("/dav/file")
    assert whole.content == content
    assert whole.headers["accept-ranges"] == "bytes"
    etag = whole.headers["etag"]
    for wanted, part in {
        "bytes=0-0": content[:1],
        "bytes=100-70099": content[100:70_100],
        "bytes=299999-": content[299_999:],
        "bytes=-500": content[-500:],
    }.items():
        answer = client.get("/dav/file", headers={"Range": wanted})
        assert answer.status_code == 206
        assert answer.content == part
        assert answer.headers["content-length"] == str(len(part))
        start = content.index(part) if len(part) > 1 else (0 if wanted == "bytes=0-0" else 299_999)
        last = start + len(part) - 1
        assert answer.headers["content-range"] == f"bytes {start}-{last}/300000"
    some = {"Range": "bytes=10-19"}
    answer = client.get("/dav/file", headers={**some, "If-Range": etag})
    assert (answer.status_code, answer.content) == (206, content[10:20])
    answer = client.get("/dav/file", headers={**some, "If-Range": '"other"'})
    assert (answer.status_code, answer.content) == (200, content)
    assert client.get("/dav/file", headers={"Range": "bytes=300000-"}).status_code == 416
    head = client.head("/dav/file")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == "300000"
    answer = client.get("/dav/file", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    refused = client.put("/dav/file", content=b"x", headers={"If-Match": '"other"'})
    assert refused.status_code == 412
    assert (share.folder / "file").read_bytes() == content


def test_collections_copies_and_moves(share):
    client = share.client()

    def ask(method, path, **headers):
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.request(method, path, headers=fields).status_code

    assert ask("MKCOL", "/dav/a") == 201
    assert ask("MKCOL", "/dav/a") == 405
    assert ask("MKCOL", "/dav/x/y") == 409
    # A name that must be encoded, and one that nginx must not decode twice.
    name = "/dav/a/Zo%C3%AB%20%26%20100%2525.txt"
    assert client.put(name, content=b"text").status_code == 201
    assert (share.folder / "a" / "Zoë & 100%25.txt").read_bytes() == b"text"
    assert client.get(name).text == "text"
    assert ask("COPY", "/dav/a/", Destination=f"{share.url}/b/") == 201
    assert ask("COPY", "/dav/a/", Destination=f"{share.url}/b/", Overwrite="F") == 412
    assert ask("MOVE", "/dav/b/", Destination=f"{share.url}/c/") == 201
    assert ask("PROPFIND", "/dav/b/", Depth="0") == 404
    assert ask("DELETE", "/dav/a/") == 204
    assert sorted(path.name for path in share.folder.rglob("*")) == ["Zoë & 100%25.txt", "c"]
    for depth, count in (("0", 1), ("1", 2), ("infinity", 3)):
        answer = client.request("PROPFIND", "/dav/", headers={"Depth": depth})
        assert answer.status_code == 207
        assert len(re.findall(r"<(?:\w+:)?href>", answer.text)) == count
    # The links in the answer lead to the files, however they are encoded.
    links = re.findall(r"<(?:\w+:)?href>([^<]*)<", answer.text)
    (file,) = (link for link in links if link.endswith(".txt"))
    assert client.get(file).text == "text"


def test_a_question_s_xml_by_length_and_chunked(share):
    """WsgiDAV reads XML by CONTENT_LENGTH, which with buffering a chunked body has as well."""
    client = share.client()
    client.put("/dav/file", content=b"12345")
    kinds = [PROPFIND, iter([PROPFIND[:50].encode(), PROPFIND[50:].encode()])]
    for content in kinds if share.buffering == "on" else kinds[:1]:
        answer = client.request("PROPFIND", "/dav/file", content=content, headers={"Depth": "0"})
        assert answer.status_code == 207
        assert "getcontentlength>5<" in answer.text
        assert "getlastmodified" not in answer.text


def test_locks(share):
    client = share.client()
    client.put("/dav/file", content=b"before")
    answer = client.request("LOCK", "/dav/file", content=LOCKINFO, headers={"Timeout": "Second-60"})
    assert answer.status_code == 200
    token = answer.headers["lock-token"]
    assert client.put("/dav/file", content=b"refused").status_code == 423
    assert client.delete("/dav/file").status_code == 423
    holder = {"If": f"({token})"}
    assert client.put("/dav/file", content=b"after", headers=holder).status_code == 204
    unlocked = client.request("UNLOCK", "/dav/file", headers={"Lock-Token": token})
    assert (unlocked.status_code, unlocked.content) == (204, b"")
    assert (share.folder / "file").read_bytes() == b"after"
    assert client.delete("/dav/file").status_code == 204


def test_a_python_client_keeps_a_tree(share, webdav4, digest, tmp_path):
    webdav4.mkdir("tree")
    contents = {f"tree/{number}.bin": os.urandom(number * 90_000) for number in range(4)}
    for number, (name, content) in enumerate(contents.items()):
        # It sends chunks, because it does not know the length.
        file = io.BytesIO(content) if number % 2 else OfUnknownLength(content)
        webdav4.upload_fileobj(file, name, chunk_size=10_000)
    listed = {entry["name"]: entry["content_length"] for entry in webdav4.ls("tree")}
    assert listed == {name: len(content) for name, content in contents.items()}
    webdav4.move("tree", "moved")
    for name, content in contents.items():
        copy = tmp_path / "copy"
        webdav4.download_file(name.replace("tree", "moved"), copy)
        assert digest(copy) == digest(content)
    with webdav4.open("moved/3.bin", "rb") as file:
        file.seek(100_000)
        assert file.read(50) == contents["tree/3.bin"][100_000:100_050]
    webdav4.remove("moved")
    with pytest.raises(ResourceNotFound):
        webdav4.ls("moved")
    assert list(share.folder.iterdir()) == []


def test_more_clients_than_threads(share, digest):
    contents = [os.urandom(400_000) for _ in range(16)]
    start = threading.Barrier(len(contents))

    def upload(number: int) -> int:
        with httpx.Client(http2=share.http2, verify=False, trust_env=False, timeout=120) as client:
            pieces = (contents[number][at : at + 9000] for at in range(0, 400_000, 9000))
            start.wait(60)
            return client.put(f"{share.url}/{number}", content=pieces, auth=USER).status_code

    with ThreadPoolExecutor(len(contents)) as pool:
        assert set(pool.map(upload, range(len(contents)))) == {201}
    for number, content in enumerate(contents):
        assert digest(share.folder / str(number)) == digest(content)


@pytest.mark.parametrize("protocol", ["http/1.1"], indirect=True)
def test_an_upload_that_is_cut_off_harms_nobody(share):
    head = "PUT /dav/file HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnMzY3JldA==\r\n"
    for framing in (
        "Content-Length: 1000000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nF4240\r\n",
    ):
        with share.nginx.connect() as connection:
            connection.send(head + framing)
            connection.send(b"x" * 200_000)
            connection.reset()
    client = share.client()
    # All four threads of the pool are free again, and the file is not locked.
    for _ in range(8):
        assert client.put("/dav/file", content=b"whole").status_code in (201, 204)
    assert client.get("/dav/file").text == "whole"


@pytest.mark.parametrize("protocol", ["http/1.1"], indirect=True)
def test_cadaver(share, run, home, tmp_path, digest):
    (home / ".netrc").write_text("machine 127.0.0.1 login ann password s3cret\n")
    (home / ".netrc").chmod(0o600)
    source = tmp_path / "source.bin"
    source.write_bytes(os.urandom(1_000_000))
    script = f"""
        mkcol papers
        cd papers
        put {source} one.bin
        copy one.bin two.bin
        move two.bin three.bin
        lock one.bin
        put {source} one.bin
        unlock one.bin
        propset one.bin colour blue
        propget one.bin colour
        get three.bin {tmp_path / "three.bin"}
        delete three.bin
        ls
        quit
    """
    done = run("cadaver", share.url + "/", input=script.encode())
    assert "failed" not in done.stdout.lower(), done.stdout
    assert "Value of colour is: blue" in done.stdout
    assert digest(tmp_path / "three.bin") == digest(source)
    assert [path.name for path in share.folder.rglob("*.bin")] == ["one.bin"]
    assert digest(share.folder / "papers" / "one.bin") == digest(source)


@pytest.mark.parametrize("protocol", ["http/1.1"], indirect=True)
def test_litmus(share, run):
    """The conformance suite of WebDAV: all tests pass, except for those that WsgiDAV fails."""
    # -k: run the other suites as well, if one fails.
    done = run("litmus", "-k", share.url + "/", *USER, check=False)
    text = done.stdout.replace("\r", "\n")
    summaries = re.findall(r"summary for `(\w+)': of (\d+) tests run: (\d+) passed", text)
    # From Python 3.14 on WsgiDAV copies the members of a collection as well, behind any server.
    by_wsgidav = ["copy_shallow"] if sys.version_info >= (3, 14) else []
    assert re.findall(r"(\w+)\.+ FAIL", text) == by_wsgidav, text
    failed = {name: int(ran) - int(passed) for name, ran, passed in summaries}
    copymove = len(by_wsgidav)
    assert failed == {"basic": 0, "copymove": copymove, "props": 0, "locks": 0, "http": 0}, text
    assert sum(int(ran) for _, ran, _ in summaries) >= 104, text
    # A warning only: nginx, like RFC 9112, allows no fragment in a request target.
    assert text.count("WARNING") <= 1, text
