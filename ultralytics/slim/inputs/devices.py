"""Find the device that is asked for."""

from __future__ import annotations

from typing import Any

import torch

from ultralytics.utils.torch_utils import select_device

from ..errors import InputError


def find_device(device: Any = None) -> torch.device:
    """Return the device that is asked for as in Ultralytics; by default the first GPU, else the CPU.

    How many threads PyTorch computes with stays as it is.

    Raises:
        InputError: It is not there, or no device.
    """
    threads = torch.get_num_threads()
    try:
        return select_device(device, verbose=False)
    except (ValueError, RuntimeError, AssertionError) as error:
        there = "the GPUs here are 0" if torch.cuda.is_available() else "there is no GPU here"
        if torch.cuda.device_count() > 1:
            there += f" to {torch.cuda.device_count() - 1}"
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"device={device}: {there}; leave it out, or give device=cpu ({first})") from error
    finally:
        torch.set_num_threads(threads)  # Ultralytics sets its own choice for the CPU
