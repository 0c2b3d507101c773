"""For `INSTALLED_APPS`: `manage.py runnginx`."""
