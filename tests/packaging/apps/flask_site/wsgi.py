"""Flask: `v ` and the body at /, blocks for a second at /blocks (tests/load.py)."""

from __future__ import annotations

import time

from flask import Flask, Response, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def echo() -> bytes:
    return b"v " + request.get_data()


@app.route("/blocks")
def blocks() -> Response:
    def parts():
        for index in range(50):
            yield f"{index:05d}\n"
            time.sleep(0.02)

    return Response(parts(), mimetype="text/plain")
