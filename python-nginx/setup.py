"""Tags the wheel with its Python and its platform. `make wheel` puts nginx and the module in."""

from pathlib import Path

from setuptools import Distribution, setup

FILES = ["bin/nginx", "modules/ngx_http_pywsgi_module.so", "data/mime.types"]


class Built(Distribution):
    def has_ext_modules(self) -> bool:
        return True


for file in FILES:
    if not (Path(__file__).parent / "pywsgi_nginx" / file).exists():
        raise SystemExit(f"pywsgi_nginx/{file} is missing: build this wheel with `make wheel`")

setup(distclass=Built)
