"""The formats of an export: their names, and the packages that they need."""

from __future__ import annotations

import re
from importlib.util import find_spec

from ultralytics.engine.exporter import export_formats

from ..compat import int8_formats
from ..errors import InputError, MissingPackageError
from ..hints import hint, split_list

INT8 = "-int8"  # onnx-int8: the format onnx in whole numbers of eight bits
FP16 = "-fp16"  # onnx-fp16: with weights, and where the runtime can also values, in half precision
NEEDS = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "pnnx"),
}  # to export and load back
INT8_NEEDS = {"openvino": ("nncf",)}
OURS = ("onnx", "openvino")  # whose int8 is made here, on every release
HALVED = ("onnx", "openvino", "ncnn")  # in half precision by Ultralytics, and compared here


def read_formats(formats: str | list[str]) -> list[str]:
    """Return the names in `onnx,onnx-fp16,openvino-int8` or in a list.

    Raises:
        InputError: Ultralytics cannot export to one of them.
    """
    known = [f for f in export_formats()["Argument"] if f != "-"]
    known += [name + INT8 for name in known if name in {*int8_formats(), *OURS}] + [name + FP16 for name in HALVED]
    names = split_list(formats)
    for name in names:
        if name not in known:
            listed = f"{', '.join(known)}, or several with commas between them"
            raise InputError(f"format={name}: no such format{hint(name, known)}; expected one of {listed}")
    return names


def check_packages(names: list[str]) -> None:
    """Raise MissingPackageError that names all packages which these formats need and this installation lacks.

    Formats that nobody tried here are Ultralytics' to judge.
    """
    needed = [package for name in names for package in packages_of(name) if not find_spec(package)]
    if missing := " ".join(dict.fromkeys(needed)):
        raise MissingPackageError(
            f"format={','.join(names)} needs {missing.replace(' ', ' and ')}: pip install {missing}"
        )


def takes(name: str, option: str) -> bool:
    """Return whether Ultralytics takes an option for a format; one that a release lists for none it takes for all."""
    formats = export_formats()
    listed = dict(zip(formats["Argument"], formats["Arguments"])) if "Arguments" in formats else {}
    return option in listed.get(name, ()) or not any(option in options for options in listed.values())


def float_format(name: str) -> str:
    """Return the format of single precision that one of less is made of; others are what they are."""
    return name.removesuffix(INT8).removesuffix(FP16)


def with_precision(name: str, precision: str) -> str:
    """Return the name of an export in another precision, as Ultralytics has it: x_int8.onnx, x_int8_ncnn_model."""
    return re.sub(r"(_[a-z]+_model|\.[^._]+)$", rf"_{precision.lstrip('-')}\1", name)


def packages_of(name: str) -> tuple[str, ...]:
    """Return the packages that a format needs to be exported and loaded back."""
    base = float_format(name)
    return NEEDS.get(base, ()) + (INT8_NEEDS.get(base, ()) if name.endswith(INT8) else ())
