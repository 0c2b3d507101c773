"""What belongs to a framework.

pip installs it. Inside nginx it is imported from there, while the rest of the package is the one
that is built into the module (`pywsgi._contrib`).
"""
