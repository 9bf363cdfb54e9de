"""Layers that no image of the trace ran: they stay whole, and so does what they may be given or be joined with.

Some are known: `UNRUN` of Ultralytics' own heads, and what reads the predictions. Of the others there are two kinds.
What the code around it does not name runs never, and nothing else depends on it. What it does name, such as the experts
that a router did not choose, may run for another image: it reads channels that the owner's code has in hand, and what
it puts out is joined with others of those. All that the owner's code itself handles therefore stays as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from ...kinds import is_a
from .reach import may_use, words_of

if TYPE_CHECKING:
    from .trace import Trace

UNRUN = {  # (class of the head, attribute) -> why the layers below it stay whole, and cut nothing that they read
    ("YOLOEDetect", "cv4"): "compares with embeddings, whose width stays",
    ("YOLOEDetect", "one2one_cv4"): "compares with embeddings, whose width stays",
    ("YOLOEDetect", "reprta"): "turns embeddings of texts into others of their width, once for all images",
    ("RTDETRDecoder", "denoising_class_embed"): "adds queries of their width in training alone",
    ("RTDETRDecoder", "dec_score_head"): "puts out classes, and reads queries, whose width stays",
}
ON_PROMPTS = (("YOLOEDetect", "savpe"),)  # runs on feature maps, but only where a visual prompt is given
READ_PREDICTIONS = ("DFL", "RealNVP")  # no raw forward runs them; they read the predictions, which stay whole


def prediction_readers(net: nn.Module) -> set[str]:
    """Return the names of the modules that read predictions, and of those in them."""
    readers = [(name, m) for name, m in net.named_modules() if any(is_a(m, kind) for kind in READ_PREDICTIONS)]
    return {name for prefix, m in readers for name, _ in m.named_modules(prefix=prefix)}


def unrun_layers(net: nn.Module, trace: Trace) -> dict[str, nn.Module]:
    """Return the modules with parameters of their own that did not run, by name, but for what reads the predictions."""
    spared = prediction_readers(net)
    return {name: m for name, m in net.named_modules() if name not in spared and trace.never_met(m)}


def keep_known(net: nn.Module, trace: Trace) -> None:
    """Note as whole what `UNRUN` names and did not run."""
    for (kind, attribute), why in UNRUN.items():
        for head, m in _below(net, kind, attribute):
            if trace.never_met(m):
                trace.keep_whole(m, f"{type(head).__name__}.{attribute} {why}")


def sleeping(net: nn.Module, trace: Trace) -> dict[str, str]:
    """Return {layer that did not run, but may for another image: the module whose code it hangs on}."""
    return {name: owner for name in unrun_layers(net, trace) if (owner := _owner(net, trace, name)) is not None}


def keep_unrun(net: nn.Module, trace: Trace) -> None:
    """Note as whole what did not run, and of what may run for another image what the code around it handles."""
    asleep = sleeping(net, trace)
    for name, m in unrun_layers(net, trace).items():
        why = "may run for other images" if name in asleep else "no code around it names it"
        trace.keep_whole(m, f"{name} ({type(m).__name__}): never ran when the model was traced; {why}")
    first = {owner: name for name, owner in reversed(asleep.items())}
    for owner, name in first.items():
        about = f"{owner or 'the model'} ({type(net.get_submodule(owner)).__name__})"
        for labels in trace.handled.get(owner, {}).values():
            trace.book.freeze(labels, f"{about}: feeds or joins {name}, which never ran when the model was traced")


def free_prompts(net: nn.Module, trace: Trace) -> None:
    """Let what runs only with visual prompts cost no time an image: it is cut, but not to make the model faster."""
    for kind, attribute in ON_PROMPTS:
        for _, m in _below(net, kind, attribute):
            for tensor in m.parameters(recurse=False):
                trace.positions.pop(id(tensor), None)


def _owner(net: nn.Module, trace: Trace, name: str) -> str | None:
    """Return the innermost module around a layer that ran, None where neither its code nor that further out names it.

    What is asked for is the part of that module in which the layer lies: a list of experts, say.
    """
    parts = name.split(".")
    depth = next(d for d in reversed(range(len(parts))) if trace.ran(".".join(parts[:d])))
    owner, *around = [net.get_submodule(".".join(parts[:d])) for d in range(depth, -1, -1)]
    is_named = may_use(owner, parts[depth]) or any(parts[depth] in words_of(m) for m in around)
    return ".".join(parts[:depth]) if is_named else None


def _below(net: nn.Module, kind: str, attribute: str) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Give every head of a class with each module below one of its attributes, as far as it has that."""
    for head in net.modules():
        part = getattr(head, attribute, None) if is_a(head, kind) else None
        for m in part.modules() if isinstance(part, nn.Module) else ():
            yield head, m
