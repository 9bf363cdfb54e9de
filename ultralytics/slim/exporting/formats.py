"""The formats of an export: their names, and the packages that they need."""

from __future__ import annotations

from importlib.util import find_spec

from ultralytics.engine.exporter import export_formats

from ..compat import int8_formats
from ..errors import InputError, MissingPackageError
from ..hints import hint, split_list

INT8 = "-int8"  # onnx-int8: the format onnx with quantize=8
NEEDS = {
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "pnnx"),
}  # to export and load back
INT8_NEEDS = {"openvino": ("nncf",)}
OURS = ("onnx", "openvino")  # whose int8 is made here, on every release


def read_formats(formats: str | list[str]) -> list[str]:
    """Return the names in `onnx,openvino-int8` or in a list.

    Raises:
        InputError: Ultralytics cannot export to one of them.
    """
    known = [f for f in export_formats()["Argument"] if f != "-"]
    known += [name + INT8 for name in known if name in {*int8_formats(), *OURS}]
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


def packages_of(name: str) -> tuple[str, ...]:
    base = name.removesuffix(INT8)
    return NEEDS.get(base, ()) + (INT8_NEEDS.get(base, ()) if name.endswith(INT8) else ())
