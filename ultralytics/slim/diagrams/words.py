"""Words that stand in the drawings."""

from __future__ import annotations

import numpy as np

VERBS = (
    "check send write approve print file pay ship load test review merge sort pack call draft plan reject scan"
).split()
NOUNS = (
    "order claim report stock bill form note route ticket model photo offer letter parcel budget invoice request "
    "sample contract account refund schedule backup sensor"
).split()
ROLES = "sales store bank office clerk customer supplier support finance legal logistics garage lab owner team".split()
PARTS = (
    "client server cache queue gateway store index worker proxy auth search mail log api database scheduler ui"
).split()
IDEAS = "goals risk time cost team tools market food travel music health school garden energy water paint light".split()
NAMES = (
    "Ada Ben Chloe Dan Eva Finn Gita Hugo Ines Jon Kim Lena Max Nora Omar Pia Rui Sara Tom Uma Vik Wei Yara Zoe"
).split()
POSTS = "head chief lead staff audit sales plant board intern".split()


def task(rng: np.random.Generator) -> str:
    """Return what an activity does, as `check order`."""
    return f"{rng.choice(VERBS)} {rng.choice(NOUNS)}"


def noun(rng: np.random.Generator) -> str:
    """Return what a data object holds."""
    return str(rng.choice(NOUNS))


def role(rng: np.random.Generator) -> str:
    """Return who owns a pool or a lane."""
    return str(rng.choice(ROLES))


def part(rng: np.random.Generator) -> str:
    """Return a part of a technical system."""
    return str(rng.choice(PARTS))


def idea(rng: np.random.Generator) -> str:
    """Return a topic of one or two words."""
    return " ".join(rng.choice(IDEAS, rng.integers(1, 3), replace=False))


def person(rng: np.random.Generator) -> str:
    """Return a name and a post, as `Ada chief`."""
    return f"{rng.choice(NAMES)} {rng.choice(POSTS)}"
