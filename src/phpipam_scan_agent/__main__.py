"""Run as `python -m phpipam_scan_agent`."""

import sys

from .main import main

sys.exit(main())
