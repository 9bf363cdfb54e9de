"""Which nodes of an exported network make boxes and scores of what its last trained layers put out.

They must stay float: one scale of int8 for coordinates in pixels and for probabilities rounds either away, and where a
softmax over the bins of a box's side is rounded to 1/255, the box moves by pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np


def decoding_nodes(readers: Mapping[str, Collection[str]], trained: Collection[str]) -> list[str]:
    """Return the names of the nodes after which no trained layer comes, in order.

    Args:
        readers: Name of each node -> names of the nodes that read what it puts out; a network without cycles.
        trained: Names of those that multiply by trained weights.
    """
    trained = set(trained)
    leads_on: dict[str, bool] = {}
    for name in readers:
        waiting = [name]
        while waiting:  # depth first, and no recursion: networks are deeper than Python's stack
            node = waiting[-1]
            unknown = [reader for reader in readers[node] if reader not in leads_on]
            if unknown:
                waiting += unknown
            else:
                leads_on[node] = any(reader in trained or leads_on[reader] for reader in readers[node])
                waiting.pop()
    return [name for name in readers if name not in trained and not leads_on[name]]


def is_expectation(weight: np.ndarray) -> bool:
    """Return whether a convolution's weight is 0, 1, 2 …: the mean over a side's bins (Li et al., arXiv 2006.04388,
    section 3.2), which is computed and not trained."""
    return weight.shape[0] == 1 and weight.size > 1 and np.array_equal(weight.ravel(), np.arange(weight.size))
