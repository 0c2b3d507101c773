"""The command `pywsgi`: it runs applications in an nginx of its own, and writes configurations.

Not part of nginx's module: pip installs it with the package, and nothing of it runs inside nginx.
"""
