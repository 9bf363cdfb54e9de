"""The command line of every checkout that the patch is applied to: python -m ultralytics.slim STAGE key=value ..."""

from __future__ import annotations

import sys

from .command.main import main_of
from .command.running import asked_cores
from .installation import MODULE
from .wrapper import METHODS, PruneModel

if __name__ == "__main__":
    sys.exit(main_of(PruneModel, METHODS, sys.argv[1:], asked_cores(), MODULE))
