"""The three errors of this tool; the command line catches `PatchError` and nothing else."""


class PatchError(Exception):
    """Something is wrong that the user can put right; the message says how."""


class DoesNotFit(PatchError):
    """A hunk, or a seam that the patch should have made, is not where it must be."""


class LocalEdits(PatchError):
    """Files hold changes that the requested step would overwrite."""
