"""Seeded damage to what a program reads: bytes, texts, and values as JSON and pickles hold them."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

ODD_WORDS = (
    "", "nan", "inf", "-1", "1e400", "9" * 40, "0.5", "é", "\x00", "null", "[]", "{}", "true", "a: b", "=", "-", "'",
    "../x", "x" * 300, "\u202e", "1_0", "0x1F", "*", "%s", "{0}",
)  # fmt: skip
ODD_VALUES = (None, True, -1, 10**40, 0.5, float("nan"), "", "x", "../x", [], [3], {}, {"x": 1}, [[]], "\x00")


def damaged_bytes(random: Random, content: bytes) -> bytes:
    """Cut, flipped, filled, doubled or foreign bytes."""
    a, b = sorted(random.randrange(len(content) + 1) for _ in range(2))
    kind = random.randrange(5)
    if kind == 0:
        return content[:a]
    if kind == 1:
        flipped = bytearray(content)
        for _ in range(random.randrange(1, 9)):
            flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return content[:a] + bytes(b - a) + content[b:]
    if kind == 3:
        return content[:b] + content[a:]
    return content[:a] + random.randbytes(random.randrange(1, 40)) + content[a:]


def damaged_text(random: Random, text: str) -> str:
    """A text of which a word or a line is odd, gone, doubled or elsewhere."""
    lines = text.split("\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(5)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(j, lines[i])
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    else:
        words = lines[i].split(" ")
        place = random.randrange(len(words))
        words[place : place + (kind == 3)] = [random.choice(ODD_WORDS)]
        lines[i] = " ".join(words)
    return "\n".join(lines)


def damaged_value(random: Random, value: Any, odd: tuple = ODD_VALUES) -> Any:
    """A copy of tables and lists in which one item, at any depth, is another or gone."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    if not places or random.random() < 0.05:
        return copy.deepcopy(random.choice(odd))
    holder, key = random.choice(places)
    if random.random() < 0.25:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(random.choice(odd))
    return value


def _places(value: Any):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)
