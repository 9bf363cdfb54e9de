"""Make the fork from upstream's pinned release, or patch your own Ultralytics, also an edited one.

DIR is a git checkout, an unpacked source release, or a site-packages: any folder with ultralytics/ in it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from patches.apply import apply, check
from patches.bump import bump
from patches.carry import carry
from patches.errors import PatchError
from patches.export import diff, export
from patches.materialise import materialise
from patches.refresh import refresh
from patches.revert import revert, status
from patches.show import show

ON_A_CHECKOUT = (
    ("apply", apply, "patch the Ultralytics in DIR, all or nothing"),
    ("check", check, "tell whether `apply` would work; change nothing"),
    ("status", status, "tell whether DIR is patched, with what, and what changed since"),
    ("revert", revert, "take the patch back, byte for byte"),
    ("show", show, "list every edit: in place, where it would go, or what to add by hand where"),
    ("diff", diff, "print what `apply` would do, or has done, as one patch, for `git apply` by hand"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; every error that the user can put right is one message and exit code 1."""
    options = parser().parse_args(arguments)
    try:
        write(options.run(options))
    except PatchError as error:
        print(f"patches: {error}", file=sys.stderr)
        return 1
    return 0


def write(result: str | bytes) -> None:
    """Print a sentence; write a patch as the bytes it is made of."""
    if isinstance(result, bytes):
        sys.stdout.buffer.write(result)
    else:
        print(result)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="python -m patches", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("materialise", help="make ultralytics/ from the pinned wheel and the patch")
    make.add_argument("--force", action="store_true", help="drop local edits in ultralytics/ (slim/ is never touched)")
    make.set_defaults(run=lambda options: materialise(force=options.force))
    again = commands.add_parser("refresh", help="write the patch anew from the edits in ultralytics/")
    again.set_defaults(run=lambda options: refresh())
    carried = commands.add_parser("carry", help="bring the patches for older releases in step with the newest")
    carried.set_defaults(run=lambda options: carry())
    newer = commands.add_parser("bump", help="pin a newer upstream release if the newest patch fits it")
    newer.add_argument("version", nargs="?", help="the release; the newest if left out")
    newer.add_argument("--dry-run", action="store_true", help="tell what would happen; change nothing")
    newer.set_defaults(run=lambda options: bump(options.version, options.dry_run))
    for name, function, text in ON_A_CHECKOUT:
        command = commands.add_parser(name, help=text)
        command.add_argument("place", metavar="DIR", type=Path)
        command.set_defaults(run=lambda options, function=function: function(options.place))
    exported = commands.add_parser("export", help="write that patch, or those for all releases, into FOLDER")
    exported.add_argument(
        "place", metavar="DIR", type=Path, nargs="?", help="left out: a patch for each range of releases"
    )
    exported.add_argument("folder", metavar="FOLDER", type=Path)
    exported.set_defaults(run=lambda options: export(options.folder, options.place))
    return top


if __name__ == "__main__":
    sys.exit(main())
