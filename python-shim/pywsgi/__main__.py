"""`python -m pywsgi`: the command `pywsgi`."""

import sys

from pywsgi.command import main

sys.exit(main())
