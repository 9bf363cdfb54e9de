"""Errors that are told in one line: what the user gave, or the machine lacks; anything else keeps its traceback.

Each kind is also the builtin error that Python would raise, so that `except ValueError` goes on catching it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import CodeType, TracebackType

import torch


class SlimError(Exception):
    """Something that the user can mend; its message says how."""


class InputError(SlimError, ValueError):
    """A value, a file's content or a model that cannot be used."""


class KindError(SlimError, TypeError):
    """A value of a kind that is not taken, or an argument that nobody knows."""


class MissingFileError(SlimError, FileNotFoundError):
    """A file or folder that should be there and is not."""


class MissingPackageError(SlimError, ImportError):
    """A package that is not installed."""


class FailedError(SlimError, RuntimeError):
    """Something that was tried and did not work: an export, a video, a training that was to keep the widths."""


class WriteError(SlimError, OSError):
    """A file that cannot be written."""


class UsageError(SlimError, ValueError):
    """The command line cannot be understood."""


# Functions of Ultralytics that judge what users give, by name: whatever is raised in one of them or in what it calls,
UPSTREAM_CHECKS = frozenset(
    "attempt_load_one_weight autocast_list cache_labels check_cfg check_class_names check_cls_dataset "
    "check_det_dataset check_dict_alignment check_file check_imgsz check_requirements check_resume check_source "
    "check_suffix check_yaml get_cfg get_dataset get_img_files get_labels guess_model_task load_checkpoint "
    "load_inference_source parse_model resolve_platform_uri select_device torch_safe_load yaml_load".split()
)
# and those that judge it among other work: what they raise themselves. Anything else there is a fault.
UPSTREAM_RAISERS = frozenset(
    "_build_train_pipeline _check_is_pytorch_model _handle_nan_recovery _new_video _setup_ddp _setup_train "
    "_single_check _smart_load build_optimizer get_dataloader load_image resume_training train".split()
)

# What Ultralytics answers data with that it cannot read.
DATA_ERRORS = (RuntimeError, SyntaxError, ValueError, AssertionError, OSError)
# What the system refuses a path for that no bug of ours is behind: its length, permissions, a full or read-only disk.
REFUSALS = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
OUT_OF_MEMORY = (  # in RuntimeErrors of PyTorch's allocator, its oneDNN and Python's threads, and in OpenCV's errors
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "bad allocation",
    "could not create a primitive",
    "can't start new thread",
    "Insufficient memory",
)


@contextmanager
def translated(*kinds: type[Exception]) -> Iterator[None]:
    """Make errors with which Ultralytics answers bad input errors of this family, with the same words and kind.

    Args:
        kinds: Kinds that are the user's wherever they are raised inside; of others those that `UPSTREAM_CHECKS` or
            `UPSTREAM_RAISERS` raised. A full disk, a folder without permission and a device without memory are the
            user's, too.
    """
    try:
        yield
    except SlimError:
        raise
    except Exception as error:
        if not (isinstance(error, kinds) or _is_of_the_machine(error) or _is_checked(error.__traceback__)):
            raise
        raise as_slim_error(error) from error


def as_slim_error(error: Exception) -> SlimError:
    """Return an error of the same words that belongs to this family, of the same kind if that can be made of them."""
    args = error.args
    if isinstance(error, OSError) and error.errno is not None:
        args = (error.errno, error.strerror, error.filename)  # which its own `args` leave out
    try:
        made = _kind_of(type(error))(*args)
    except Exception:  # some kinds want more than they keep
        made = None
    return made if str(made) == str(error) else InputError(str(error) or type(error).__name__)


@lru_cache
def _kind_of(kind: type[Exception]) -> type[SlimError]:
    about = {"__module__": __name__, "__doc__": f"{kind.__name__} of Ultralytics."}
    return type(kind.__name__, (SlimError, kind), about)


def _is_of_the_machine(error: Exception) -> bool:
    full_disk = isinstance(error, RuntimeError) and "PytorchStreamWriter" in str(error)
    of_system = isinstance(error, OSError) and error.errno is not None and not isinstance(error, BrokenPipeError)
    return of_system or full_disk or is_out_of_memory(error)


def is_refused_path(error: BaseException) -> bool:
    """Return whether the system said what is wrong with a path: too long, not permitted, no space; not: not there."""
    return isinstance(error, OSError) and error.errno in REFUSALS and error.filename is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is short, on whatever device.

    Python, the system, PyTorch and OpenCV say it so.
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(told in str(error) for told in OUT_OF_MEMORY)


def _is_checked(trace: TracebackType | None) -> bool:
    """Return whether one of Ultralytics' checks was at work when an error was raised."""
    code = None
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name in UPSTREAM_CHECKS and _is_upstream(code):
            return True
        trace = trace.tb_next
    return code is not None and code.co_name in UPSTREAM_RAISERS and _is_upstream(code)


def _is_upstream(code: CodeType) -> bool:
    parts = Path(code.co_filename).parts
    return "ultralytics" in parts and "slim" not in parts[parts.index("ultralytics") :]
