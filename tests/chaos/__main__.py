"""Runs `python -m tests.chaos`; see `campaign`."""

import sys

from tests.chaos.campaign import main

sys.exit(main())
