"""What nginx loads: Django's WSGI handler between PEP 3333's own checks."""

import os
from wsgiref.validate import validator

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")

application = validator(get_wsgi_application())
