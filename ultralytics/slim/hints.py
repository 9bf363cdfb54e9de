"""Lists in words, those that users type and those that messages show; the known word nearest to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

INSTEAD = {"model": "weights", "teacher": "t_weight", "distill_model": "t_weight", "ratio": "factor"}


def split_list(value: object) -> list[str]:
    """Return the items of a list or another collection, or of text such as `a.pt,b.pt` or `[a.pt,b.pt]`."""
    text = str(value).strip()
    text = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text  # a name may end in a bracket
    items = value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else text.split(",")
    return [str(item).strip(" '\"") for item in items]


def few(words: Sequence[object], most: int = 5) -> str:
    """Return words for a message, such as "a, b, c and 4 more", so many at most."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more


def hint(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean ...?)" with the known words that are nearest to one; "" where none is near."""
    close = [INSTEAD[word]] if word in INSTEAD else get_close_matches(word, list(known), n=2)
    return f" (did you mean {' or '.join(repr(c) for c in close)}?)" if close else ""
