"""How nginx finds an application: rewrites, try_files, `if`, nested and named locations."""

from __future__ import annotations

import pytest

# Answers with parts of the request; ?status is the status.
SOURCE = """
    from urllib.parse import parse_qs
    from wsgiref.validate import validator

    @validator
    def application(environ, start_response):
        query = {k: v[0] for k, v in parse_qs(environ["QUERY_STRING"]).items()}
        start_response(f"{query.get('status', '200')} Said", [("Content-Type", "text/plain")])
        keys = ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "REQUEST_URI", "MAPPED")
        body = environ["wsgi.input"].read(1 << 20)
        words = [environ.get(key) or "-" for key in keys]
        return [" ".join([*words, str(len(body))]).encode("latin-1")]
"""


@pytest.fixture
def pair(twins):
    return twins(SOURCE)


def test_rewrites(pair):
    pair.start(
        server=r"""
        rewrite ^/server/(.*)$ /last/$1?by=server;
        location /last { APP; }
        location /break { rewrite ^/break/(.*)$ /rest/$1?x=1 break; APP; }
        location /again { rewrite ^/again/(.*)$ /last/$1?y=2 last; }
        location /without { rewrite ^(.*)$ /last$1? last; }
        location /to { rewrite ^/to/(.*)$ /last/$1 redirect; }
        location /moved { rewrite ^/moved/(.*)$ /last/$1 permanent; }
        location /set { set $word $arg_a; rewrite ^ /last/$word? last; }
        location /loop { rewrite ^ /loop/a last; }
        """
    )
    for path, words in [
        ("/server/a?b=c", "POST /last/a by=server&b=c /server/a?b=c - 4"),
        ("/break/a?b=c", "POST /rest/a x=1&b=c /break/a?b=c - 4"),
        ("/again/a?b=c", "POST /last/a y=2&b=c /again/a?b=c - 4"),
        ("/without/a?b=c", "POST /last/without/a - /without/a?b=c - 4"),
        ("/set?a=b", "POST /last/b - /set?a=b - 4"),
    ]:
        assert pair.request("POST", path, content=b"form").text == words
    assert pair.get("/to/a?b=c").headers["location"].endswith("/last/a?b=c")
    assert pair.get("/moved/a").status_code == 301
    assert pair.get("/loop/b").status_code == 500


def test_if(pair):
    pair.start(
        server=r"""
        location /one { if ($arg_x) { APP; break; } return 204; }
        location /two { APP; if ($request_method = POST) { return 405; } }
        location /three { APP; if ($arg_y) { add_header X-If $arg_y; } }
        location /four { APP; if ($arg_s) { rewrite ^ /one?x=1? last; } }
        location /five { APP; if (-f $document_root/five) { return 204; } }
        location /six { APP; if ($http_cookie ~* "id=([a-z]+)") { set $id $1; }
                        rewrite ^/six$ /six/$id; }
        """
    )
    assert pair.get("/one").status_code == 204
    assert pair.get("/one?x=1").text == "GET /one x=1 /one?x=1 - 0"
    assert pair.request("POST", "/two", content=b"form").status_code == 405
    assert pair.get("/two").text == "GET /two - /two - 0"
    answer = pair.get("/three?y=z")
    assert (answer.headers["x-if"], answer.text) == ("z", "GET /three y=z /three?y=z - 0")
    assert "x-if" not in pair.get("/three").headers
    assert pair.get("/four?s=1").text == "GET /one x=1 /four?s=1 - 0"
    assert pair.get("/five").status_code == 200
    assert pair.get("/six", headers={"Cookie": "id=ann"}).text == "GET /six/ann - /six - 0"


def test_nested_and_regular_and_exact(pair):
    pair.start(
        server=r"""
        location /deep/ {
            location /deep/er/ { location ~ \.py$ { APP; } return 203; }
            location = /deep/exact { APP; }
            return 204;
        }
        location ^~ /first/ { APP; }
        location ~* \.(png|PY)$ { return 202; }
        location ~ ^/user/(?<name>[a-z]+)$ { rewrite ^ /named/$name? break; APP; }
        location = / { APP; }
        """
    )
    assert pair.get("/deep/er/a.py").text == "GET /deep/er/a.py - /deep/er/a.py - 0"
    assert pair.get("/deep/er/a").status_code == 203
    assert pair.get("/deep/exact").text == "GET /deep/exact - /deep/exact - 0"
    assert pair.get("/deep/other").status_code == 204
    assert pair.get("/first/a.py").text == "GET /first/a.py - /first/a.py - 0"
    assert pair.get("/a.PNG").status_code == 202
    assert pair.get("/user/ann?x=1").text == "GET /named/ann - /user/ann?x=1 - 0"
    assert pair.get("/?x=1").text == "GET / x=1 /?x=1 - 0"


def test_a_slash_is_added_where_the_location_ends_with_one(pair):
    # As nginx does for an upstream (auto_redirect).
    pair.start(server="location /shop/ { APP; }")
    answer = pair.get("/shop?x=1")
    assert answer.status_code == 301
    assert answer.headers["location"].endswith("/shop/?x=1")


def test_try_files(nginx, pair):
    nginx.page("there.txt", "a file")
    nginx.page("folder/index.html", "an index")
    pair.start(
        server=f"""
        root {nginx.html};
        location / {{ try_files $uri $uri/ @app; index index.html; }}
        location @app {{ APP; }}
        location /front {{ try_files $uri /in/front?a=$uri; }}
        location /in/ {{ internal; APP; }}
        location /code {{ try_files $uri =404; error_page 404 = @app; }}
        location /here {{ try_files $uri @app; APP; }}
        """
    )
    assert pair.get("/there.txt").text == "a file"
    assert pair.get("/folder/").text == "an index"
    body = b"x" * 50_000
    answer = pair.request("POST", "/gone?a=b", content=body)
    assert answer.text == "POST /gone a=b /gone?a=b - 50000"
    assert pair.get("/front/x").text == "GET /in/front a=/front/x /front/x - 0"
    assert pair.get("/code/x?y=1").text == "GET /code/x y=1 /code/x?y=1 - 0"
    assert pair.get("/here/x").text == "GET /here/x - /here/x - 0"


def test_mapped_parameters(nginx, protocol):
    app = protocol.wrap("twin", SOURCE)
    nginx.start(
        f"{protocol}_app {app}; {protocol}_param MAPPED $tenant if_not_empty;",
        http=r"""
        map $http_host $tenant { hostnames; default ""; *.example.test sub; ~^(?<t>[a-z]+)\.io $t; }
        """,
    )
    client = nginx.client()
    for host, tenant in [("a.example.test", "sub"), ("ann.io", "ann"), ("other", "-")]:
        assert client.get("/", headers={"Host": host}).text.split(" ")[4] == tenant


def test_error_pages_by_an_application(nginx, pair):
    pair.start(
        server="""
        location /gone { return 404; error_page 404 /page?status=203; }
        location /same { return 404; error_page 404 =200 /page; }
        location /own { return 404; error_page 404 = /page?status=410; }
        location /named { return 503; error_page 503 @app; }
        location /away { return 403; error_page 403 =302 /page; }
        location /outside { return 403; error_page 403 http://example.test/; }
        location /large { client_max_body_size 1; error_page 413 /page; APP; }
        location /page { APP; }
        location @app { APP; }
        """
    )
    body = b"x" * 50_000
    for path, status, words in [
        ("/gone", 404, "GET /page status=203 /gone - 50000"),
        ("/same", 200, "GET /page - /same - 50000"),
        ("/own", 410, "GET /page status=410 /own - 50000"),
        ("/named", 503, "POST /named - /named - 50000"),
    ]:
        answer = pair.request("POST", path, content=body)
        assert (answer.status_code, answer.text) == (status, words)
    assert pair.get("/outside").headers["location"] == "http://example.test/"
    assert pair.get("/away").status_code == 302
    # The application gets nothing of a body that nginx has discarded.
    answer = nginx.client().post("/large", content=body)
    assert (answer.status_code, answer.text) == (413, "GET /page - /large - 0")


def test_error_pages_instead_of_an_application_s(nginx, pair):
    nginx.page("sorry.html", "sorry")
    pair.start(
        server=f"""
        wsgi_intercept_errors on; uwsgi_intercept_errors on;
        location / {{
            APP; error_page 404 /sorry.html; error_page 410 = @app;
            error_page 500 502 =503 /sorry.html;
            error_page 418 /loop?status=418; error_page 403 =302 http://example.test/login;
        }}
        location = /sorry.html {{ internal; root {nginx.html}; }}
        location /loop {{ APP; error_page 418 /loop?status=418; recursive_error_pages on; }}
        location /once {{ APP; error_page 418 /loop?status=418; }}
        location @app {{ APP; }}
        """
    )
    assert pair.get("/?status=404").text == "sorry"
    assert pair.get("/?status=500").status_code == 503
    assert pair.get("/?status=401").text == "GET / status=401 /?status=401 - 0"
    named = pair.request("POST", "/?status=410", content=b"form")
    assert (named.status_code, named.text) == (410, "POST / status=410 /?status=410 - 4")
    login = pair.get("/?status=403")
    assert (login.status_code, login.headers["location"]) == (302, "http://example.test/login")
    assert pair.request("HEAD", "/?status=404").status_code == 404
    assert pair.get("/once?status=418").status_code == 418
    assert pair.get("/loop?status=418").status_code == 500


def test_intercepted_errors_in_subrequests(nginx, pair):
    pair.start(
        server="""
        location /page { ssi on; ssi_types text/plain; default_type text/html;
                         return 200 '<<!--# include virtual="/part?status=$arg_s" -->>'; }
        location /part {
            wsgi_intercept_errors on; uwsgi_intercept_errors on; error_page 404 =200 /instead; APP;
        }
        location /instead { return 200 instead; }
        location /asked { auth_request /judge; return 200 "let in"; }
        location /judge {
            wsgi_intercept_errors on; uwsgi_intercept_errors on; error_page 404 =200 /instead;
            rewrite ^ /judge?status=404 break; APP;
        }
        """
    )
    assert pair.get("/page?s=404").text == "<instead>"
    assert pair.get("/page?s=200").text.startswith("<GET /part status=200 ")
    # auth_request sees the response that replaces an intercepted error.
    assert pair.get("/asked").text == "let in"
