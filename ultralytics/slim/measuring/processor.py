"""What the processor has for computing in whole numbers of eight bits."""

from __future__ import annotations

import torch

INT8 = {"amx_int8": "AMX", "avx512_vnni": "VNNI", "avx_vnni": "VNNI"}  # capability, as PyTorch names it


def int8_instructions() -> str | None:
    """Return the name of its instructions for int8, '' where it has none, or None where nobody can tell.

    PyTorch tells of x86 alone, from its release 2.10 or so.
    """
    has = getattr(torch.cpu, "get_capabilities", dict)()
    if has.get("architecture") != "x86_64":
        return None
    return next((name for capability, name in INT8.items() if has.get(capability)), "")
