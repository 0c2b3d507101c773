"""The pieces of `make release` that build nothing: archives, comparison, checksums, SBOMs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib

import pytest
from harness import PROJECT

VERSION = tomllib.loads((PROJECT / "Cargo.toml").read_text())["package"]["version"]
SOURCE = f"pywsgi-{VERSION}.tar.gz"
DOCKER = f"pywsgi-{VERSION}-docker.tar.gz"
# Of the commit that is archived.
DATE = 1_750_000_000


def run(*command, cwd, check=True, **environment):
    """In an environment without variables of this tree's make."""
    inherited = {name: os.environ[name] for name in ("HOME", "PATH")}
    for name in ("CARGO_HOME", "RUSTUP_HOME"):
        if name in os.environ:
            inherited[name] = os.environ[name]
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        check=check,
        env={**inherited, "GIT_CONFIG_GLOBAL": "/dev/null", **environment},
        capture_output=True,
        text=True,
    )


def source_files(tree) -> list[str]:
    return run(".ci/source-files", cwd=tree).stdout.rstrip("\0").split("\0")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with the files of this tree as its one commit."""
    tree = tmp_path_factory.mktemp("repository") / "pywsgi"
    for name in source_files(PROJECT):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, tree / name)
    (tree / "target").mkdir()
    (tree / "target" / "built").touch()
    who = {}
    for one in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{one}_NAME": "A", f"GIT_{one}_EMAIL": "a@example.org"}
        who[f"GIT_{one}_DATE"] = f"{DATE} +0000"
    run("git", "init", "--quiet", cwd=tree)
    run("git", "add", "--all", cwd=tree)
    run("git", "commit", "--quiet", "--message", "all", cwd=tree, **who)
    return tree


@pytest.fixture(scope="module")
def archives(repository, tmp_path_factory):
    out = tmp_path_factory.mktemp("archives")
    run(".ci/archive", out, cwd=repository)
    return out


@pytest.fixture(scope="module")
def unpacked(archives, tmp_path_factory):
    """The source archive's tree."""
    place = tmp_path_factory.mktemp("unpacked")
    run("tar", "-xf", archives / SOURCE, cwd=place)
    return place / f"pywsgi-{VERSION}"


def members(archive) -> list[tarfile.TarInfo]:
    with tarfile.open(archive) as tar:
        return [member for member in tar if member.isfile()]


def test_the_archives_are_the_same_on_another_machine(repository, archives, tmp_path):
    """Made elsewhere, by a user with another umask, time zone and configuration of git."""
    other = tmp_path / "other" / "place"
    other.parent.mkdir()
    run("git", "clone", "--quiet", repository, other, cwd=tmp_path)
    run("git", "config", "tar.umask", "0077", cwd=other)
    command = f"umask 077; .ci/archive {tmp_path}/out"
    run("bash", "-c", command, cwd=other, TZ="Asia/Tokyo", LC_ALL="C")
    assert sorted(path.name for path in archives.iterdir()) == sorted([SOURCE, DOCKER])
    for name in (SOURCE, DOCKER):
        assert (tmp_path / "out" / name).read_bytes() == (archives / name).read_bytes(), name


def test_the_source_archive_is_the_commit(archives):
    """All of it, in one folder, of root, with the commit's time, and nothing that was built."""
    found = members(archives / SOURCE)
    folder = f"pywsgi-{VERSION}/"
    assert [member.name for member in found] == [folder + name for name in source_files(PROJECT)]
    assert {member.mtime for member in found} == {DATE}
    assert {(member.uid, member.gid) for member in found} == {(0, 0)}
    assert {member.mode for member in found} == {0o644, 0o755}


def test_the_source_archive_can_be_built(unpacked):
    """It has each crate of ours, each file that the module embeds, and what `make module` calls."""
    crates = run("cargo", "tree", "--locked", "--offline", "--edges=normal,build", cwd=unpacked)
    assert "nginx-bindings v" in crates.stdout
    embedded = [
        (source.parent / name).resolve()
        for source in unpacked.glob("src/**/*.rs")
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text())
    ]
    assert embedded
    assert [path for path in embedded if not path.exists()] == []
    dry = run("make", "--dry-run", "module", cwd=unpacked).stdout
    assert "cargo build --locked --release" in dry
    for script in re.findall(r"(?m)^\.ci/\S+", dry):
        assert os.access(unpacked / script, os.X_OK), script


def test_an_unpacked_archive_knows_its_files_and_its_time(archives, unpacked):
    """Without git, and beside what was built in it."""
    for name in ("target/release/module.so", "tests/__pycache__/harness.pyc", ".ruff_cache/x"):
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).touch()
    folder = f"pywsgi-{VERSION}/"
    names = [member.name.removeprefix(folder) for member in members(archives / SOURCE)]
    assert source_files(unpacked) == sorted(names, key=str.encode)
    assert run(".ci/date", cwd=unpacked).stdout == f"{DATE}\n"
    assert run(".ci/date", cwd=unpacked, SOURCE_DATE_EPOCH="7").stdout == "7\n"


def test_the_docker_archive_is_a_context(archives):
    """It has each Dockerfile and what that copies, without a folder around them."""
    names = {member.name for member in members(archives / DOCKER)}
    dockerfiles = {str(path.relative_to(PROJECT)) for path in PROJECT.glob("docker/*/Dockerfile")}
    assert dockerfiles <= names
    for suite in ("bookworm", "trixie"):
        text = (PROJECT / "docker" / suite / "Dockerfile").read_text()
        for arguments in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", text):
            for copied in arguments.split():
                assert copied in names or any(name.startswith(f"{copied}/") for name in names), (
                    copied
                )


def test_a_tree_with_changes_is_no_release(repository, tmp_path):
    tree = tmp_path / "tree"
    run("git", "clone", "--quiet", repository, tree, cwd=tmp_path)
    (tree / "new.py").touch()
    target = tmp_path / "target"
    release = run(".ci/release", target, tmp_path, "", "bookworm", cwd=tree, check=False)
    assert release.returncode == 1
    assert release.stderr.startswith("make release: a release is made of a commit: commit or ")
    assert release.stderr.endswith("?? new.py\n")
    assert not target.exists()


# In the place of make: it says what it was called for, and makes one file of each kind in the tree.
MAKE = """\
#!/bin/bash
set -eu
tree=$3 target=$4
echo "${*:4}" "${NGINX_BUILD_DIR-clean}" "$TZ" >>"$CALLS"
case $target in
  deb)
    out=$tree/target/deb/${5#SUITE=} suite=${5#SUITE=}
    mkdir -p "$out"
    for file in p.orig.tar.xz "p~$suite".{dsc,deb,changes}; do echo x >"$out/$file"; done
    date +%N >"$out/p~$suite.buildinfo"
    ;;
  wheel)
    out=$tree/target/wheel/dist
    mkdir -p "$out"
    echo "${WHEEL/TREE/$tree}" >"$out/p-${5##*/}.whl"
    ;;
  sbom)
    out=$tree/target/sbom
    mkdir -p "$out"
    stat -c %Y "$tree/Cargo.toml" >"$out/p.cdx.json"
    ;;
esac
"""


@pytest.fixture
def release(repository, tmp_path):
    """Runs .ci/release for two Debians and two Pythons with that make, as if it were root."""
    tree = tmp_path / "tree"
    run("git", "clone", "--quiet", repository, tree, cwd=tmp_path)
    (tmp_path / "bin").mkdir()
    for name, text in {"make": MAKE, "id": "#!/bin/sh\necho 0\n"}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def release(wheel):
        return run(
            *(".ci/release", tree / "target", "/roots", "/bin/p1 /bin/p2", "bookworm trixie"),
            cwd=tree,
            check=False,
            PATH=f"{tmp_path}/bin:{os.environ['PATH']}",
            NGINX_BUILD_DIR="of-this-tree",
            WHEEL=wheel,
            CALLS=str(tmp_path / "calls"),
        )

    return release


def test_a_release_has_what_both_builds_have_made(release, tmp_path):
    done = release("same")
    assert done.stderr == ""
    calls = ["deb SUITE=bookworm ROOTS=/roots", "deb SUITE=trixie ROOTS=/roots"]
    calls += ["wheel PYTHON=/bin/p1", "wheel PYTHON=/bin/p2", "sbom"]
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{call} clean {zone}" for zone in ("UTC", "Pacific/Kiritimati") for call in calls
    ]
    out = tmp_path / "tree" / "target" / f"release-{VERSION}"
    files = {DOCKER, SOURCE, "SHA256SUMS", "p.cdx.json", "p.orig.tar.xz", "p-p1.whl", "p-p2.whl"}
    for suite in ("bookworm", "trixie"):
        files |= {f"p~{suite}.{kind}" for kind in ("buildinfo", "deb", "dsc")}
    assert {path.name for path in out.iterdir()} == files
    assert (out / "p.cdx.json").read_text() == f"{DATE}\n"
    run("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS", cwd=out)
    assert not (tmp_path / "tree" / "target" / "releasing").exists()


def test_a_release_that_differs_is_none(release, tmp_path):
    """Here with the tree's path in the wheels."""
    done = release("in TREE")
    assert done.returncode == 1
    assert "the two builds differ" in done.stderr
    assert not (tmp_path / "tree" / "target" / f"release-{VERSION}").exists()


@pytest.fixture
def builds(tmp_path):
    """The folders of two builds that are the same but for the file that may differ."""
    for build in ("one", "other"):
        (tmp_path / build).mkdir()
        (tmp_path / build / "a.tar.gz").write_text("archive")
        (tmp_path / build / "b 1.deb").write_text("package")
        (tmp_path / build / "b.buildinfo").write_text(f"built {build}")
    return tmp_path


def test_builds_that_agree_get_checksums(builds):
    done = run(PROJECT / ".ci/compare", "one", "other", cwd=builds)
    assert done.stdout == "Both builds have made the same 2 files.\n"
    listed = (builds / "one" / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in listed] == ["a.tar.gz", "b 1.deb", "b.buildinfo"]
    check = ("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
    run(*check, cwd=builds / "one")
    (builds / "one" / "a.tar.gz").write_text("another archive")
    assert "a.tar.gz: FAILED" in run(*check, cwd=builds / "one", check=False).stdout


@pytest.mark.parametrize("difference", ["bytes", "missing", "more"])
def test_builds_that_differ_are_no_release(builds, difference):
    file = builds / "other" / ("c.whl" if difference == "more" else "b 1.deb")
    if difference == "missing":
        file.unlink()
    else:
        file.write_text("other")
    done = run(PROJECT / ".ci/compare", "one", "other", cwd=builds, check=False)
    assert done.returncode == 1
    assert file.name in done.stderr
    assert "a.tar.gz" not in done.stderr
    assert not (builds / "one" / "SHA256SUMS").exists()


@pytest.fixture(scope="module")
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", PROJECT / ".ci" / "sbom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUNDLED = """\
nginx 1.28.3 pkg:generic/nginx@1.28.3
openssl 3.0.19-1~deb12u2 pkg:deb/debian/openssl@3.0.19-1~deb12u2?arch=source&distro=bookworm
zlib 1:1.2.13.dfsg-1 pkg:deb/debian/zlib@1:1.2.13.dfsg-1?arch=source&distro=bookworm
libxcrypt 1:4.4.33-2 pkg:deb/debian/libxcrypt@1:4.4.33-2?arch=source&distro=bookworm
libzstd 1.5.7+dfsg-1 pkg:deb/debian/libzstd@1.5.7+dfsg-1?arch=source&distro=trixie
"""


def test_the_sbom_of_a_wheel(sbom, tmp_path):
    """It names the module, its crates, and nginx and its libraries as databases know them."""
    wheel = tmp_path / f"pywsgi_nginx-{VERSION}-cp311-cp311-manylinux.whl"
    wheel.write_bytes(b"")
    crate = {"type": "library", "bom-ref": "crate", "name": "bytes", "version": "1.12.0"}
    module = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "urn:uuid:of-this-run",
        "metadata": {"component": {"type": "library", "bom-ref": "module", "name": "module"}},
        "components": [crate],
        "dependencies": [{"ref": "module", "dependsOn": ["crate"]}],
    }
    bom = sbom.wheel_bom(module, wheel, BUNDLED)
    assert bom["metadata"]["component"]["purl"] == f"pkg:pypi/pywsgi-nginx@{VERSION}"
    names = ["module", "nginx", "openssl", "zlib", "libxcrypt", "libzstd", "bytes"]
    assert [one["name"] for one in bom["components"]] == names
    cpes = [one.get("cpe", "").split(":")[3:6] for one in bom["components"][1:6]]
    assert cpes == [
        ["f5", "nginx", "1.28.3"],
        ["openssl", "openssl", "3.0.19"],
        ["zlib", "zlib", "1.2.13"],
        [],
        ["facebook", "zstandard", "1.5.7"],
    ]
    # Each reference is of a component, and the one of the module is unchanged.
    references = {one["bom-ref"] for one in [bom["metadata"]["component"], *bom["components"]]}
    for dependency in bom["dependencies"]:
        assert {dependency["ref"], *dependency["dependsOn"]} <= references
    assert module["components"] == [crate]

    for name in ("one.json", "two.json"):
        sbom.write(tmp_path / name, sbom.wheel_bom(module, wheel, BUNDLED))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert json.loads((tmp_path / "one.json").read_text())["serialNumber"].startswith("urn:uuid:")
    assert "of-this-run" not in (tmp_path / "one.json").read_text()


CARGO = """\
#!/bin/sh
echo "cargo $*"
"""


@pytest.fixture
def audit(tmp_path):
    """Runs `make audit` with a cargo that prints its arguments, and without git's network."""
    cargo = tmp_path / "cargo"
    cargo.write_text(CARGO)
    cargo.chmod(0o755)
    offline = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.https.allow"}
    offline["GIT_CONFIG_VALUE_0"] = "never"

    def make(*variables):
        arguments = ("audit", f"CARGO={cargo}", *variables)
        return run(
            "make", *arguments, cwd=PROJECT, check=False, CARGO_TARGET_DIR=tmp_path, **offline
        )

    return make


def test_an_audit_without_advisories_fails(audit, tmp_path):
    """It says what to do, before it compiles anything."""
    done = audit()
    assert done.returncode != 0
    assert "so nothing was checked" in done.stderr
    assert "make audit ADVISORIES=" in done.stderr
    assert "cargo" not in done.stdout
    done = audit(f"ADVISORIES={tmp_path}")
    assert done.returncode != 0
    assert f"{tmp_path} is no clone of RustSec's advisory-db" in done.stderr


def test_an_audit_says_of_when_the_advisories_are(audit, repository):
    """With a clone of the database, here one of another repository with a folder of that name."""
    (repository / "crates").mkdir(exist_ok=True)
    done = audit(f"ADVISORIES={repository}")
    assert done.stderr == ""
    assert done.stdout == (
        "The advisories are those of 2025-06-15\n"
        f"cargo audit --db {repository} --no-fetch --deny unsound --deny yanked\n"
    )
