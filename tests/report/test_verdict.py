"""The verdict on a compression, from its figures alone."""

import pytest

from ultralytics.slim.report.verdict import Figures, judge, share_words, where_lost


def test_a_run_whose_last_stage_was_left_out_is_whole():
    ends = ("original", "retrained")
    told = [" ".join(judge(Figures((2, 1), (0.5, 0.5), names=ends, **more)).details) for more in ({}, {"whole": ends})]
    assert "unfinished run" in told[0] and "unfinished" not in told[1]


STEADY = {"PyTorch": ((17.0, 16.9, 17.1, 40), (10.0, 9.9, 10.1, 40))}
NOISY = {"PyTorch": ((17.0, 5.0, 60.0, 40), (15.0, 5.0, 60.0, 40))}
SLOWER = {"PyTorch": ((10.0, 9.9, 10.1, 40), (20.0, 19.9, 20.1, 40))}
BOTH = {**STEADY, "ONNX Runtime": ((10.0, 9.9, 10.1, 40), (10.1, 10.0, 10.2, 40))}
CLASSES = {"box": (0.7, 0.7), "data": (0.5, 0.48), "event": (0.6, 0.598), "pool": (0.8, 0.8)}


@pytest.mark.parametrize(
    ("figures", "kind", "headline"),
    [
        (Figures((8, 4), (0.65, 0.646), CLASSES, STEADY), "good",
         "Half the compute, 1.7 times as fast here, 0.4 mAP lost, mostly in class data."),
        (Figures((8, 4), (0.65, 0.6504), {}, STEADY), "good",
         "Half the compute, 1.7 times as fast here, accuracy kept."),
        (Figures((9, 3), (0.6, 0.612), {}, BOTH), "good",
         "A third of the compute, 1.7 times as fast here in PyTorch, no faster in ONNX Runtime, 1.2 mAP gained."),
        (Figures((8, 3.36), (0.6, 0.6), {}, NOISY), "fair", "42 % of the compute, no faster here, accuracy kept."),
        (Figures((8, 4), (0.6, 0.57), {}, STEADY), "fair", "Half the compute, 1.7 times as fast here, 3.0 mAP lost."),
        (Figures((8, 4), (0.6, 0.5), {}, SLOWER), "bad", "Half the compute, 2.0 times as slow here, 10.0 mAP lost."),
        (Figures((8, 4), (0.6, 0.0)), "bad", "Half the compute, 60.0 mAP lost."),
        (Figures((8, 4), (0.6, 0.6), {}, STEADY, (0.8, 0.7)), "bad",
         "Half the compute, 1.7 times as fast here, accuracy kept, 10.0 relation F1 lost."),
        (Figures((8, 4), (0.6, 0.6), {}, STEADY, (0.0, 0.0)), "good",
         "Half the compute, 1.7 times as fast here, accuracy kept."),
        (Figures((8, 8), (0.6, 0.6), {}, STEADY), "none",
         "As much compute as before, 1.7 times as fast here, accuracy kept."),
        (Figures((8, 10), (0.6, 0.6)), "none", "25 % more compute, accuracy kept."),
        (Figures((8, 4)), "unknown", "Half the compute, accuracy not measured."),
        (Figures((8, 4), (0.0, 0.0)), "unknown", "Half the compute, but the original detects nothing here."),
        (Figures((8, 4), (0.0001, 0.0004)), "unknown", "Half the compute, but the original detects nothing here."),
    ],
)  # fmt: skip
def test_verdict(figures, kind, headline):
    found = judge(figures)
    assert (found.kind, found.headline) == (kind, headline)


@pytest.mark.parametrize(
    ("figures", "detail"),
    [
        (Figures((8, 4), (0.6, 0.59), relations=(0.01, 0.03)), "98.3 % of the accuracy and all of the relation F1."),
        (Figures((8, 4), (0.6, 0.1)), "It keeps only 16.7 % of the accuracy. Do not use it"),
        (Figures((8, 4), (0.6, 0.5)), "It keeps 83.3 % of the accuracy, too little for most uses"),
        (Figures((8, 4), (0.6, 0.6), {}, NOISY),
         "keeps 100.0 % of the accuracy, but here the smaller network is not faster everywhere"),
        (Figures((8, 4), (0.001, 0.0)), "The original itself finds next to nothing"),
        (Figures((8, 8), (0.6, 0.6)), "The network is as large as before"),
        (Figures((8, 4)), "nobody can say whether it is fit for use"),
        (Figures((8, 4), (0.6, 0.6), relations=(0.9, 0.85)), "F1 falls to 85.0 from 90.0."),
        (Figures((8, 4), (0.6, 0.6), relations=(0.9, 0.9)), "F1 stays at 90.0."),
        (Figures((8, 4), (0.6, 0.6), relations=(0.8, 0.6)),
         "It keeps 100.0 % of the accuracy and 75.0 % of the relation F1, too little"),
        (Figures((8, 4), (0.6, 0.57), {}, STEADY), "It keeps 95.0 % of the accuracy: whether that is enough"),
        (Figures((8, 4), (0.6, 0.59), path=[("original", 0.6), ("pruned", 0.2), ("distilled", 0.59)]),
         "mAP by stage: pruned −40.0, distilled +39.0 points."),
        (Figures((8, 4), (0.6, 0.6), images=4), "Measured on 4 images: that is too little"),
        (Figures((8, 4), (0.6, 0.6), promise="keep=0.99 is kept: all of it"), "keep=0.99 is kept: all of it."),
    ],
)  # fmt: skip
def test_verdict_says_what_it_means(figures, detail):
    assert detail in " ".join(judge(figures).details)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [(0.5, "half"), (0.51, "half"), (0.33, "a third of"), (0.25, "a quarter of"), (0.46, "46 % of"), (0.03, "3 % of")],
)
def test_shares_in_words(ratio, words):
    assert share_words(ratio) == words


@pytest.mark.parametrize(
    ("losses", "where"),
    [
        ({"a": 0.3, "b": 0.1, "c": 0.1}, "mostly in class a"),
        ({"a": 0.2, "b": 0.2, "c": 0.1, "d": 0.0}, "mostly in classes b and a"),
        ({"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1}, "spread over the classes"),
        ({"a": 0.3, "b": 0.0}, ""),
        ({"a": -0.1, "b": 0.0, "c": 0.0}, ""),
    ],
)
def test_where_accuracy_was_lost(losses, where):
    assert where_lost({name: (0.5, 0.5 - loss) for name, loss in losses.items()}) == where
