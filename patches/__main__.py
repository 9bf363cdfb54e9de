"""`python -m patches`: the command line of this tool."""

from __future__ import annotations

import argparse
import sys

from patches.errors import PatchError
from patches.materialise import materialise
from patches.refresh import refresh


def main(arguments: list[str] | None = None) -> int:
    """Run one command; every error that the user can put right is one message and exit code 1."""
    options = parser().parse_args(arguments)
    try:
        print(options.run(options))
    except PatchError as error:
        print(f"patches: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="python -m patches", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("materialise", help="make ultralytics/ from the pinned wheel and the patch")
    make.add_argument("--force", action="store_true", help="drop local edits in ultralytics/ (slim/ is never touched)")
    make.set_defaults(run=lambda options: materialise(force=options.force))
    again = commands.add_parser("refresh", help="write the patch anew from the edits in ultralytics/")
    again.set_defaults(run=lambda options: refresh())
    return top


if __name__ == "__main__":
    sys.exit(main())
