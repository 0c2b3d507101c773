"""A store of files over HTTP: Falcon's resources, hooks, media, multipart and streams."""

import hashlib
import json
import os
from pathlib import Path
from wsgiref.validate import validator

import falcon

DATA = Path(os.environ["FILES_DATA"])
KEY = os.environ["FILES_KEY"]


def require_key(req, resp, resource, params):
    if req.get_header("Authorization") != f"Bearer {KEY}":
        raise falcon.HTTPUnauthorized(title="a key is needed", challenges=["Bearer"])


class Collection:
    def on_get(self, req, resp):
        resp.media = [
            {"name": path.name, "size": path.stat().st_size}
            for path in sorted(DATA.glob("*.bin"))
            if path.name.startswith(req.get_param("prefix", default=""))
        ]

    @falcon.before(require_key)
    def on_post(self, req, resp):
        stored = []
        for part in req.get_media():
            digest = hashlib.sha256()
            name = f"{part.secure_filename}.bin"
            with (DATA / name).open("wb") as file:
                while block := part.stream.read(65536):
                    digest.update(block)
                    file.write(block)
            stored.append({"field": part.name, "name": name, "sha256": digest.hexdigest()})
        resp.media = stored
        resp.status = falcon.HTTP_201


class Item:
    def on_get(self, req, resp, name):
        try:
            file = (DATA / name).open("rb")
        except FileNotFoundError:
            raise falcon.HTTPNotFound(title="no such file") from None
        resp.content_type = falcon.MEDIA_TEXT if req.get_param_as_bool("text") else None
        resp.content_type = resp.content_type or "application/octet-stream"
        resp.set_stream(file, os.fstat(file.fileno()).st_size)

    @falcon.before(require_key)
    def on_put(self, req, resp, name):
        size = 0
        with (DATA / name).open("wb") as file:
            while block := req.bounded_stream.read(65536):
                size += len(block)
                file.write(block)
        resp.media = {"size": size}
        resp.status = falcon.HTTP_201
        resp.location = req.prefix + req.path

    @falcon.before(require_key)
    def on_delete(self, req, resp, name):
        (DATA / name).unlink(missing_ok=True)
        resp.status = falcon.HTTP_204


class Visits:
    def on_get(self, req, resp):
        count = int(req.get_cookie_values("visits")[0]) if "visits" in req.cookies else 0
        resp.set_cookie("visits", str(count + 1), secure=False)
        resp.media = {"visits": count + 1}

    def on_post(self, req, resp):
        document = req.get_media()
        resp.text = json.dumps({"keys": sorted(document)})


def create():
    app = falcon.App()
    app.add_route("/files", Collection())
    app.add_route("/files/{name}", Item())
    app.add_route("/visits", Visits())
    return validator(app)
