"""`--static`: what nginx serves of a folder, and what it does not."""

from __future__ import annotations

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the application"]
"""


def test_hidden_files_stay_hidden(pywsgi):
    """A folder that is served may be a repository with a .env in it."""
    pywsgi.file("app.py", WSGI)
    for folder in ("public", "odd"):
        for name in (".env", ".git/config", "a/.git/config", "a/.b.txt"):
            pywsgi.file(f"{folder}/{name}", "secret")
        for name in ("a.txt", "a.b/c..txt", ".well-known/security.txt", "b"):
            pywsgi.file(f"{folder}/{name}", "shown")
    server = pywsgi.serve(
        *("app:app", "--static", "/s=public", "--static", "/o {1}+.x/=odd"),
        *("--static", "/.dot=public", "--static", "/env=public/.env"),
    )
    for prefix in ("/s", "/o%20%7B1%7D+.x", "/.dot"):
        for path in (".env", ".git/config", "a/.git/config", "a/.b.txt", "%2egit/config", "/.env"):
            answer = server.get(f"{prefix}/{path}")
            assert (answer.status_code, "secret" in answer.text) == (404, False), path
        for path in ("a.txt", "a.b/c..txt", ".well-known/security.txt"):
            answer = server.get(f"{prefix}/{path}")
            assert (answer.status_code, answer.text) == (200, "shown"), path
    # One that is named is meant.
    assert server.get("/env").text == "secret"
    # What is beside it is the application's.
    assert server.get("/s../app.py").text == "the application"
    assert server.get("/s/..%2fapp.py").text == "the application"
