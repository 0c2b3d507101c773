"""wsgi_process, asgi_process: mistakes. What the processes are is in tests/process."""

from __future__ import annotations

import pytest


@pytest.fixture
def application(protocol):
    return f"{protocol}_app {protocol.app('app', 'async def answer(request): pass')};"


def test_a_group_that_is_not_defined(refused, protocol, application):
    name = f"{protocol}_process"
    location = f"{application} {name} nowhere;"
    what = f'{name} "nowhere" is not defined; write python_process nowhere; in http'
    refused(name, what, location=location)
    both = "python_process one; python_process two;"
    refused(name, f"{what}, or use one of: one, two", location=location, http=both)


def test_a_group_may_be_defined_after_its_use(nginx, protocol, application):
    nginx.write_config(f"{application} {protocol}_process later;")
    text = nginx.config.read_text().rstrip().removesuffix("}")
    nginx.config.write_text(f"{text}\npython_process later;\n}}\n")
    result = nginx.check()
    assert result.returncode == 0, result.stderr


def test_inline(refused, say):
    application = f"wsgi_app {say('app')};"
    what = "wsgi_thread_pool inline and wsgi_process exclude each other"
    group = "python_process shop;"
    own = f"{application} wsgi_thread_pool inline; wsgi_process shop;"
    refused("wsgi_process", what, location=own, http=group)
    inherited = f"{group} wsgi_thread_pool inline;"
    refused("wsgi_process", what, location=f"{application} wsgi_process shop;", http=inherited)


def test_off(nginx, protocol, application):
    result = nginx.check(
        f"{application} {protocol}_process off;", http=f"{protocol}_process nowhere;"
    )
    assert result.returncode == 0, result.stderr
