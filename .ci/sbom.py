"""sbom.py OUT WHEELS: what the files of a release contain, as CycloneDX, in the folder OUT.

ngx_http_pywsgi_module-VERSION.cdx.json has the crates that are compiled into the module, by
cargo-cyclonedx; each wheel in WHEELS/dist gets the same with nginx and its libraries, of which
`make wheel` has left a list. All of it depends on Cargo.lock, those lists, the commit's time and
the versions of the tools.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")
MODULE = "ngx-http-pywsgi-module"
VERSION = subprocess.check_output([TREE / ".ci" / "version"], text=True).strip()
DATE = subprocess.check_output([TREE / ".ci" / "date"], text=True).strip()

# What another machine needs in the same version to make the same files.
TOOLS = ("rustc", "cc", "ld", "git", "gzip", "xz")

# The licences of what a wheel has beside crates, and what vulnerability databases call it.
LICENCES = {
    "libxcrypt": "LGPL-2.1-or-later",
    "libzstd": "BSD-3-Clause",
    "nginx": "BSD-2-Clause",
    "openssl": "Apache-2.0",
    "pcre2": "BSD-3-Clause",
    "zlib": "Zlib",
}
CPES = {
    "libzstd": "facebook:zstandard",
    "nginx": "f5:nginx",
    "openssl": "openssl:openssl",
    "pcre2": "pcre:pcre2",
    "zlib": "zlib:zlib",
}

Bom = dict[str, Any]


def main(out: Path, wheels: Path) -> None:
    module = module_bom()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write(out / f"ngx_http_pywsgi_module-{VERSION}.cdx.json", module)
    for wheel in sorted((wheels / "dist").glob("pywsgi_nginx-*.whl")):
        python = wheel.name.split("-")[2]
        bundled = (wheels / f"bundled-{python}").read_text()
        write(out / f"{wheel.name}.cdx.json", wheel_bom(module, wheel, bundled))


def module_bom() -> Bom:
    """What cargo-cyclonedx says, in a copy of the tree, because it writes beside Cargo.toml."""
    with tempfile.TemporaryDirectory() as copy:
        files = subprocess.check_output([TREE / ".ci" / "source-files"], text=True)
        for name in filter(None, files.split("\0")):
            (Path(copy) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, Path(copy) / name)
        subprocess.run(
            [CARGO, "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]
            + ["--no-build-deps", "--target", "x86_64-unknown-linux-gnu"]
            + ["--override-filename", "sbom.cdx"],
            cwd=copy,
            env={**os.environ, "SOURCE_DATE_EPOCH": DATE},
            check=True,
        )
        text = (Path(copy) / "sbom.cdx.json").read_text()
    # The copy's path is in the names of our own crates.
    bom: Bom = json.loads(text.replace(f"{Path(copy).resolve()}", ""))
    bom["metadata"].setdefault("properties", []).extend(map(tool, TOOLS))
    return bom


def tool(name: str) -> dict[str, str]:
    """A property that says the version of a tool."""
    output = subprocess.check_output([name, "--version"], text=True)
    return {"name": f"pywsgi:built-with:{name}", "value": output.splitlines()[0]}


def wheel_bom(module: Bom, wheel: Path, bundled: str) -> Bom:
    """The module's, as a component of the wheel, with the libraries of `bundled`."""
    bom = deepcopy(module)
    inner = bom["metadata"]["component"]
    reference = f"pkg:pypi/pywsgi-nginx@{VERSION}"
    bom["metadata"]["component"] = {
        "type": "application",
        "bom-ref": reference,
        "name": "pywsgi-nginx",
        "version": VERSION,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "purl": reference,
    }
    added = [inner, *(component(line) for line in bundled.splitlines())]
    bom["components"] = added + bom["components"]
    bom["dependencies"].insert(
        0, {"ref": reference, "dependsOn": [one["bom-ref"] for one in added]}
    )
    return bom


def component(line: str) -> Bom:
    """What a line `NAME VERSION PURL` names. A version of Debian contains upstream's."""
    name, version, purl = line.split()
    upstream = re.sub(r"^\d+:|([.+~]dfsg.*)?-[^-]*$", "", version)
    found: Bom = {
        "type": "application" if name == "nginx" else "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "licenses": [{"license": {"id": LICENCES[name]}}],
        "purl": purl,
    }
    if name in CPES:
        found["cpe"] = f"cpe:2.3:a:{CPES[name]}:{upstream}:*:*:*:*:*:*:*"
    return found


def write(file: Path, bom: Bom) -> None:
    """With the commit's time, and a number that is the contents' own."""
    bom.pop("serialNumber", None)
    time = datetime.fromtimestamp(int(DATE), UTC)
    bom["metadata"]["timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    bom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(bom, sort_keys=True)).urn
    file.write_text(json.dumps(bom, indent=2) + "\n")
    print(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
