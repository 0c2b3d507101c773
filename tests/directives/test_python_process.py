"""python_process: its parameters and mistakes. What the processes are is in tests/process."""

from __future__ import annotations

import os

import pytest
from directives.venv import fake_venv


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("off", 'cannot be named "off"'),
        ("a/b", 'cannot be named "a/b"'),
        ("''", 'cannot be named ""'),
        ("shop 3", 'the unknown parameter "3"; it takes processes=N'),
        ("shop speed=3", 'the unknown parameter "speed=3"; it takes processes=N'),
        ("shop processes=0", "has processes=0; it must be a number of at least 1"),
        ("shop processes=401", "has processes=401; it must be a number of at most 400"),
        ("shop processes=two", "has processes=two; it must be a number"),
        ("shop processes=1 processes=2", "has processes= twice"),
        ("shop threads=0", "has threads=0; it must be a number of at least 1"),
        ("shop queue=-1", "has queue=-1; it must be a number of at least 0"),
        ("shop ring=63k", "has ring=63k; it must be a size from 64k to 64m"),
        ("shop ring=65m", "has ring=65m; it must be a size from 64k to 64m"),
        ("shop ring=much", "has ring=much; it must be a size"),
        ("shop start=now", "has start=now; write start=lazy, or remove it"),
        ("shop keep=yes", "has keep=yes; write keep=on or keep=off"),
        ("shop idle=5m", "has idle=5m without start=lazy"),
        ("shop start=lazy idle=soon", 'has the invalid time "soon"'),
        ("shop start=lazy idle=999ms", "has idle=999ms; it must be a time of at least 1s"),
        ("shop start=lazy idle=0", "has idle=0; it must be a time of at least 1s"),
        ("shop start=lazy start=lazy", "has start= twice"),
        ("shop home=venv", "has home=venv, which is not an absolute path"),
        ("shop home=/nowhere", "has home=/nowhere, which is not a directory"),
        ("shop path=/nowhere", "has path=/nowhere, which is not a directory"),
        ("shop working_directory=/nowhere", "has working_directory=/nowhere, which is not"),
        ("shop executable=/etc", "has executable=/etc, which is not an executable file"),
        ("shop import=a/b.py", "has import=a/b.py, which is a file; write the module's name"),
        ("shop import=a-b", "has import=a-b, which is not the name of a module"),
        ("shop env_file=/nowhere", '"/nowhere" cannot be read'),
        ("shop env==x", '"=x" has no name'),
        ("shop env=A=1 env=A=2", "has two values for env=A"),
        ("shop optimize=3", 'optimize= has "3"; it must be 0, 1'),
        ("shop optimize=", 'optimize= has ""; it must be 0, 1'),
        ("shop optimize=1 optimize=1", "has optimize= twice"),
        ("shop optimize=1,2", 'optimize= has "1,2", which are 2 words; it takes 1'),
        ("shop dont_write_bytecode=yes", 'dont_write_bytecode= has "yes"; it must be on or off'),
        ("shop hash_seed=x", 'hash_seed= has "x"; it must be random, or a number from 0'),
        ("shop warnings=never", 'warnings= "never" '),
        ("shop xoption=a=1 xoption=a=2", 'xoption= "a=2" contradicts "a=1"'),
        ("shop switch_interval=0", "switch_interval= must be at least 1ms"),
        ("shop gc_freeze=yes", 'gc_freeze= has "yes"; it must be on or off'),
        ("shop finalize=maybe", 'finalize= has "maybe"; it must be on or off'),
        ("shop finalize=on,soon", 'finalize= has "soon"; only timeout=TIME may follow'),
        ("shop drain_timeout=soon", 'drain_timeout= has the invalid time "soon"'),
        ("shop deadlock_timeout=soon", 'deadlock_timeout= has the invalid time "soon"'),
        ("shop max_stuck_threads=-1", 'max_stuck_threads= has "-1"; it must be a number of at'),
        ("shop max_requests=0", 'max_requests= has "0"; it must be a number of at least 1'),
        ("shop max_requests=5,6", 'max_requests= has the unknown parameter "6"; it takes jitter='),
        ("shop max_requests=5,jitter=x", "max_requests= has jitter=x; it must be a number"),
        ("shop max_requests=5,jitter=1,2", "max_requests= has .*, which are 3 words; it takes 2"),
        ("shop max_lifetime=0", "max_lifetime= has a time of 0"),
        ("shop memory_limit=much", "memory_limit= has soft=much; it must be a size"),
        ("shop memory_limit=hard=1g", "memory_limit= has no soft=SIZE"),
        ("shop memory_limit=1g,hard=1g", "memory_limit= has a hard limit that is not above"),
        ("shop rlimit_rtprio=1", "has the unknown parameter rlimit_rtprio=; it takes rlimit_as"),
        ("shop rlimit_as=x", "has rlimit_as=x; it must be a size"),
        ("shop rlimit_as=100m", "has rlimit_as=100m; Python needs more"),
        ("shop rlimit_cpu=10ms", "has rlimit_cpu=10ms; it must be a time of at least 1s"),
        ("shop rlimit_nofile=0", "has rlimit_nofile=0; it must be a number of at least 1"),
        ("shop nice=-1", "has nice=-1; it must be a number from 0 to 19"),
        ("shop oom_score_adj=1001", "it must be a number from -1000 to 1000"),
        ("shop umask=8", "has umask=8; it must be octal"),
        ("shop umask=1000", "has umask=1000; it must be octal"),
        ("shop cgroup=/tmp", "has cgroup=/tmp, which is not the folder of a cgroup"),
        ("shop no_new_privs=yes", 'has "yes"; it must be on or off'),
        ("shop restrict=read", 'has restrict=read with the unknown "read"; it takes a list of'),
        ("shop restrict=exec,exec", 'has "exec" twice'),
        ("shop restrict=exec writable=/tmp", "has writable= without restrict=write"),
        ("shop restrict=write writable=/nowhere", "has writable=/nowhere, which is not there"),
    ],
)
def test_mistakes(refused, arguments, what):
    refused("python_process", what, http=f"python_process {arguments};")


def test_a_home_of_another_python(nginx, refused):
    home = fake_venv(nginx.root / "venv", "2.7")
    what = "is of Python 2.7, but this module was built for .*; recreate the virtual environment"
    refused("python_process", what, http=f"python_process shop home={home};")


def test_a_group_is_defined_once(nginx, refused):
    text = "python_process shop;\npython_process shop;"
    refused("python_process", '"shop" is defined twice, first in .*nginx.conf:', http=text)


def test_too_many_processes(nginx, say):
    names = ("one", "two")
    groups = " ".join(f"python_process {name} processes=300;" for name in names)
    locations = " ".join(
        f"location /{name} {{ wsgi_app {say(name)}; wsgi_process {name}; }}" for name in names
    )
    result = nginx.check(http=groups, server=locations)
    assert result.returncode == 1
    assert '"two" makes 600 processes of all groups together' in result.stderr


def test_a_group_without_an_application(nginx, say):
    result = nginx.check(f"wsgi_app {say('app')};", http="python_process shop;")
    assert result.returncode == 0
    assert "[warn] " in result.stderr
    assert 'python_process "shop" has no processes' in result.stderr


def test_it_needs_a_master(nginx, refused, say):
    location, group = f"wsgi_app {say('app')}; wsgi_process shop;", "python_process shop;"
    off = "master_process off;"
    refused("python_process", "needs nginx's master", location=location, http=group, main=off)
    nginx.write_config(location, http=group)
    nginx.config.write_text(f"{nginx.config.read_text()}\n{off}\n")
    result = nginx.check()
    assert result.returncode == 1
    assert nginx.log_lines("pywsgi[117]: python_process needs nginx's master")
    nginx.allow_log(r"pywsgi\[117\]")
    result = nginx.check(f"wsgi_app {say('app')};", http=group, main=off)
    assert result.returncode == 0, result.stderr


def test_a_folder_that_the_workers_user_cannot_read(nginx, say):
    if os.geteuid() != 0 or nginx.user == "root":
        pytest.skip("the workers run as the user who starts nginx")
    folder = nginx.root / "closed"
    folder.mkdir()
    folder.chmod(0o700)
    result = nginx.check(
        f"wsgi_app {say('app')}; wsgi_process shop;", http=f"python_process shop path={folder};"
    )
    assert result.returncode == 1
    assert f'python_process shop: path "{folder}" cannot be read by the workers' in result.stderr


def test_the_check_names_the_group(nginx, say):
    broken = nginx.app("broken", "import no_such_module")
    result = nginx.check(
        http="python_process shop; python_check on;",
        server=f"""
            location /inside {{ wsgi_app {say("app")}; }}
            location /shop {{ wsgi_app {broken}; wsgi_process shop; }}
        """,
    )
    assert result.returncode == 1
    assert f'wsgi_app "{broken}" (python_process shop) cannot be started' in result.stderr
    assert "no_such_module" in result.stderr


def test_the_check_has_the_settings_of_the_group(nginx):
    path = nginx.app("app", "import os; assert os.environ['GROUP'] == 'shop'\napplication = print")
    location = f"wsgi_app {path}; wsgi_process shop;"
    for group, code in (("shop env=GROUP=shop", 0), ("shop", 1)):
        result = nginx.check(location, http=f"python_process {group}; python_check on;")
        assert result.returncode == code, result.stderr


def test_an_import_that_kills_the_check_is_named_with_its_group(nginx):
    paths = [nginx.app(name, "import os; os._exit(3)") for name in ("one", "two")]
    result = nginx.check(
        http="python_process one; python_process two; python_check on;",
        server=f"""
            location /one {{ wsgi_app {paths[0]}; wsgi_process one; }}
            location /two {{ wsgi_app {paths[1]}; wsgi_process two; }}
        """,
    )
    assert result.returncode == 1
    for path in paths:
        group = path.stem
        text = f'wsgi_app "{path}" (python_process {group}) ends the process that imports it'
        assert text in result.stderr
