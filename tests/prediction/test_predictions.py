"""Saved predictions: plabels that the reader reads, videos frame by frame, every kind of source, clear messages."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import prune_model
from prune_model import PruneModel
from relation import Relations, find_parent_nodes, read_plabels
from ultralytics import YOLO
from ultralytics.engine.results import Results
from ultralytics.nn.tasks import DetectionModel
from ultralytics.slim.diagrams.dataset import draw_one
from ultralytics.slim.errors import InputError
from ultralytics.slim.inputs.sources import class_numbers, count_images
from ultralytics.slim.plabels import plabels_text
from ultralytics.slim.prediction import nodes
from ultralytics.slim.prediction.nodes import NODES, detect_nodes, nodes_of, shown_of
from ultralytics.slim.prediction.results import Prediction, Predictions, VideoPrediction
from ultralytics.slim.prediction.saver import Saver, save_picture

from places import ROOT
from short_runs import MINI

SIZE = (96, 64)  # width, height
TINY = {"imgsz": 32, "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> PruneModel:
    """An untrained network that finds boxes at the finest stride and discs at the others in every image."""
    path, yolo = tmp_path_factory.mktemp("weights") / "start.pt", YOLO("yolov8n.yaml")
    yolo.model.names = {0: "box", 1: "disc", **{i: f"class{i}" for i in range(2, 80)}}
    find_everywhere(yolo)
    yolo.save(path)
    return PruneModel(path)


def find_everywhere(yolo: YOLO) -> None:
    for number, head in enumerate(yolo.model.model[-1].cv3):
        head[-1].weight.data.zero_()
        head[-1].bias.data[:] = -5
        head[-1].bias.data[min(number, 1)] = 1


def mini_model(channels: int = 3) -> PruneModel:
    """The same of the smallest network, for images of so many channels; saved in the working directory."""
    yolo = YOLO(MINI, verbose=False)
    yolo.model = DetectionModel(str(MINI), ch=channels, verbose=False)
    find_everywhere(yolo)
    yolo.save("start.pt")
    return PruneModel("start.pt")


@pytest.fixture
def there(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE[::-1], 3), grey, np.uint8))
    return path


def video(path: Path, greys: list[int], fps: float = 12.0) -> Path:
    """Write a video whose frames are of one grey each."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, SIZE)
    for grey in greys:
        writer.write(np.full((*SIZE[::-1], 3), grey, np.uint8))
    writer.release()
    return path


def frames(path: Path) -> tuple[float, list[np.ndarray]]:
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(read[1])
    return capture.get(cv2.CAP_PROP_FPS), found


def result(path: Path | str, boxes: list, grey: int = 90) -> Results:
    data = torch.tensor([[*box, 0.9, 0] for box in boxes], dtype=torch.float).reshape(-1, 6)
    return Results(np.full((*SIZE[::-1], 3), grey, np.uint8), path=str(path), names={0: "box"}, boxes=data)


# ------------------------------------------------------------------------------------------------------------- plabels


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mode", ["containment", "layout", "auto"])
def test_what_is_written_is_read_back(tmp_path, seed, mode):
    random = np.random.default_rng(seed)
    count, size = int(random.integers(0, 12)), (640, 480)
    corners = random.uniform(-20, 660, (count, 2, 2)) * [1, 0.75]
    boxes = np.hstack([corners.min(1), corners.max(1)])
    parents, classes = find_parent_nodes(boxes, mode), random.integers(0, 6, count).tolist()
    file = tmp_path / "a.txt"
    file.write_text(plabels_text(classes, boxes, parents, size))
    read = read_plabels(file, size)
    assert read.classes == classes and read.parents == parents
    np.testing.assert_allclose(read.boxes, np.clip(boxes, 0, [640, 480, 640, 480]), atol=2e-3)


INSIDE, NOTHING = Relations([-1, 0], "containment", [0.0, 1.0]), Relations([], "none", [])


def test_images_get_a_picture_and_plabels(there):
    boxes = [[0, 0, 96, 64], [10, 10, 40, 40]]
    with Saver(there / "out", save_txt=True) as saver:
        kept = saver.keep(result("in/a.png", boxes), INSIDE, False, lambda names: np.zeros((4, 4, 3), np.uint8))
        none = saver.keep(result("in/b.png", []), NOTHING, False, lambda names: np.zeros((4, 4, 3), np.uint8))
    assert kept.saved == there / "out/a.jpg" and kept.plabels == there / "out/plabels/a.txt"
    read = read_plabels(kept.plabels, SIZE)
    assert read.parents == [-1, 0] and np.abs(read.boxes - boxes).max() < 1e-3
    assert str(kept) == f"in/a.png: 2 nodes, 1 without a parent (containment) -> {kept.saved}"
    assert str(none) == f"in/b.png: 0 nodes, 0 without a parent -> {none.saved}"
    assert none.plabels.read_text() == "", "an image without nodes has an empty file, which is legal"


# ------------------------------------------------------------------------------------------------------------- sources


def test_a_video_becomes_a_video(model, there):
    """Same frame rate, every frame, in order, with something drawn on it."""
    greys = [30, 90, 150, 210]
    clip = video(there / "clip.mp4", greys)
    found = model.predict(clip, save_txt=True, conf=0.3, **TINY)
    assert len(found) == 1 and found[0].frames == 4 and found[0].nodes > 0 and "4 frames" in repr(found)
    assert found[0].saved.name == "clip.mp4" and not list(found[0].saved.parent.glob("*.jpg"))
    fps, made = frames(found[0].saved)
    assert fps == pytest.approx(12) and len(made) == 4
    middles = [float(np.median(frame)) for frame in made]
    assert all(a < b for a, b in pairwise(middles)), "in order"
    assert all(np.ptp(frame.reshape(-1, 3), axis=0).max() > 60 for frame in made), "annotated"
    names = [f"clip_{i:06d}.txt" for i in (1, 2, 3, 4)]
    assert sorted(p.name for p in (found[0].saved.parent / "plabels").iterdir()) == names
    assert all(read_plabels(found[0].saved.parent / "plabels" / name).parents for name in names)
    assert Predictions(found)._repr_jpeg_().startswith(b"\xff\xd8")


def test_every_second_frame_lasts_twice_as_long(model, there):
    found = model.predict(video(there / "clip.mp4", [60] * 6), vid_stride=2, **TINY)
    fps, made = frames(found[0].saved)
    assert fps == pytest.approx(6) and len(made) == 3


def test_frames_come_one_by_one_when_streamed(model, there):
    found = model.predict(video(there / "clip.mp4", [60] * 5), stream=True, save_dir="out", **TINY)
    first = next(found)
    assert first.frame == 1 and isinstance(first, Prediction) and not (there / "out/clip.mp4").exists()
    found.close()
    assert len(frames(there / "out/clip.mp4")[1]) == 1, "stopped early, the frames so far are a whole video"


def test_a_long_video_is_summed_up_as_it_comes():
    """Nothing of an earlier frame is alive when a later one comes."""
    import weakref

    class Frame(Prediction):
        pass

    alive = []

    def come():
        for number in range(1, 200):
            made = Frame("a.mp4", None, [[0, 0, 1, 1]], ["box"], [0.9], [-1], None, number)
            alive.append(weakref.ref(made))
            assert sum(ref() is not None for ref in alive) <= 3
            yield made
            del made

    found = Predictions.gather(come())
    assert len(found) == 1 and isinstance(found[0], VideoPrediction) and found[0].frames == found[0].nodes == 199


def test_cameras_that_take_turns_have_a_video_each(there):
    with Saver(there) as saver:
        kept = [
            saver.keep(result(name, [], grey), NOTHING, True, lambda names, g=grey: np.full((64, 96, 3), g, np.uint8))
            for name, grey in (("0", 40), ("1", 200)) * 3
        ]
    assert [k.frame for k in kept] == [1, 1, 2, 2, 3, 3]
    assert [len(frames(there / f"{name}.mp4")[1]) for name in "01"] == [3, 3]
    assert np.median(frames(there / "0.mp4")[1][2]) < 80


def test_an_error_leaves_no_half_video_and_ctrl_c_a_whole_one(there):
    for error, left in ((RuntimeError, []), (KeyboardInterrupt, ["0.mp4"])):
        with pytest.raises(error), Saver(there) as saver:
            saver.keep(result("0", []), NOTHING, True, lambda names: np.zeros((64, 96, 3), np.uint8))
            raise error
        assert [p.name for p in there.iterdir()] == left


def test_the_rules_that_were_taken_are_told_and_nodes_of_several_parents_counted(model, there, monkeypatch, log):
    found = [Relations([-1, 0, 0], "connectors", [0.0, 1.0, 1.0], {}, {2: [1]}), Relations([-1], "none", [0.0])]
    boxes = [[[0, 0, 9, 9], [20, 0, 30, 9], [20, 20, 30, 30]], [[0, 0, 9, 9]]]
    results = [result(image(there / f"in/{k}.png"), of) for k, of in enumerate(boxes)]
    monkeypatch.setattr("ultralytics.slim.prediction.predict.detect_nodes", lambda *given: iter(results))
    relations = iter(found)
    monkeypatch.setattr(
        "ultralytics.slim.prediction.predict.nodes_of", lambda of, mode: (of.boxes.xyxy, next(relations))
    )
    first, second = model.predict("in", save=False, **TINY)
    assert "3 nodes, 1 without a parent, 1 with several, of whom the first counts (connectors)" in str(first)
    assert str(second).endswith("1.png: 1 nodes, 1 without a parent") and first.others == {2: [1]}
    assert "2 images, relations by connectors 1, none 1; at 1 node several parents, of whom the first" in log.text


def test_folders_patterns_lists_and_arrays(model, there, log):
    for name in ("a.png", "b.webp"):
        image(there / "in" / name)
    video(there / "in/c.mp4", [60, 90])
    options = {"save": False, **TINY}
    assert [type(p).__name__ for p in model.predict("in", **options)] == ["Prediction", "Prediction", "VideoPrediction"]
    assert "2 images and 2 frames, relations by" in log.text
    assert [Path(p.source).name for p in model.predict("in/*.png", **options)] == ["a.png"]
    assert len(model.predict(["in/a.png", "in/b.webp"], **options)) == 2
    assert len(model.predict(np.zeros((64, 96, 3), np.uint8), **options)) == 1
    assert not (there / "runs").exists(), "nothing is drawn where it is not asked for"
    assert count_images("in") == 4 and count_images("in/*.png") == 1
    assert count_images(["in/a.png", "in/c.mp4"]) == 3 and count_images("http://x/a.png") is None


@pytest.mark.parametrize("others", [1, 17], ids=["at once", "in parts"])
@pytest.mark.parametrize("odd", ["in/c.mp4", "in", "in/*.png"])
def test_a_list_holds_images_alone(model, there, odd, others):
    path = image(there / "in/a.png")
    video(there / "in/c.mp4", [60])
    with pytest.raises(InputError, match=rf"^source={re.escape(odd)}: a list holds images alone; give a folder"):
        model.predict([path] * others + [odd], **TINY)
    assert not (there / "runs").exists()


def test_arrays_are_numbered_through(there):
    """Ultralytics counts from 0 again in each part of a long list."""
    arrays = [np.zeros((32, 32, 3), np.uint8)] * 17
    found = mini_model().predict([*arrays, image(there / "image1.png"), arrays[0]], save_dir="out", conf=0.99, **TINY)
    names = [*(f"image{number}" for number in range(17)), "image1", "image18"]
    assert [Path(p.source).stem for p in found] == names
    assert [p.saved.stem for p in found[-3:]] == ["image16", "image1-2", "image18"]


def test_images_of_other_channels_than_a_picture(there):
    """Lines are followed in pictures alone, what else there is draws on the first of the channels."""
    model = mini_model(5)
    for folder, name in (("images", "a.tiff"), ("images", "b.tiff"), ("plabels", "a.txt"), ("plabels", "b.txt")):
        path = there / "data" / folder / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        if folder == "images":
            cv2.imwritemulti(str(path), [np.full((64, 96), grey, np.uint8) for grey in (10, 20, 30, 40, 50)])
    files = sorted((there / "data/images/val").iterdir())
    alone, *listed, array = [
        *model.predict(files[0], **TINY),
        *model.predict(files, **TINY),
        *model.predict(np.zeros((64, 96, 5), np.uint8), **TINY),
    ]
    assert alone.boxes_xyxy == listed[0].boxes_xyxy == listed[1].boxes_xyxy and len(alone.boxes_xyxy) > 0
    assert Path(listed[1].source) == files[1] and array.saved.is_file()
    scores = model.evaluate("data", **TINY)
    assert [row["nodes_found"] for row in scores.images] == [len(alone.boxes_xyxy)] * 2
    with pytest.raises(InputError, match=r"a.tiff: mode=connectors .* channels, this image has 5; give mode=auto"):
        model.evaluate("data", mode="connectors", **TINY)


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 0.5), (np.float64, 127.5), (bool, True)])
def test_arrays_of_other_kinds_are_drawn_as_they_look(dtype, value):
    seen = Results(np.full((64, 96, 3), value, dtype), "a.png", {0: "box"}, boxes=torch.zeros(0, 6))
    assert shown_of(seen).dtype == np.uint8 and (shown_of(seen) == (255 if value is True else 127)).all()


def test_an_image_of_sixteen_bits_is_drawn_as_it_looks():
    seen = Results(np.full((64, 96, 3), 127 << 8, np.uint16), "a.png", {0: "box"}, boxes=torch.zeros(0, 6))
    assert shown_of(seen).dtype == np.uint8 and (shown_of(seen) == 127).all()


@pytest.fixture
def served(there) -> Iterator[str]:
    """The address of an image."""
    image(there / "served/far.png")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(there / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/far.png"
    server.shutdown()
    server.server_close()


def test_an_address(model, there, served):
    found = model.predict(served, save_dir="out", **TINY)
    assert [p.saved for p in found] == [Path("out/far.jpg")] and found[0].saved.is_file()


def test_addresses_are_numbered_through(there, served, monkeypatch):
    monkeypatch.setattr(nodes, "AT_ONCE", 2)
    found = mini_model().predict([served] * 3, save_dir="out", conf=0.99, **TINY)
    assert [p.saved.stem for p in found] == ["image0", "image1", "image2"]


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    """OpenCV returns False then, and no more: JPEG ends at 65,535 pixels a side."""
    with pytest.raises(OSError, match=r"long\.jpg: this picture of 70000x1 pixels"):
        save_picture(np.zeros((1, 70000, 3), np.uint8), tmp_path / "long.jpg")
    assert not list(tmp_path.iterdir())


def test_classes_by_name_and_number(model, there):
    path = image(there / "a.png")
    options = {"save": False, "conf": 0.2, "imgsz": 256, "device": "cpu"}
    assert set(model.predict(path, **options)[0].classes) == {"box", "disc"}
    assert set(model.predict(path, classes="box", **options)[0].classes) == {"box"}
    assert set(model.predict(path, classes="disc", **options)[0].classes) == {"disc"}
    assert (
        model.predict(path, classes=[1], **options)[0].classes == model.predict(path, classes="1", **options)[0].classes
    )
    assert class_numbers("box, 2", {0: "box", 2: "disc"}) == [0, 2]
    assert class_numbers(1, {0: "1", 1: "2"}) == [1], "digits: a number is a class's own"
    with pytest.raises(ValueError, match="classes=dics: no such class; this model has 0 box, 1 disc"):
        model.predict(path, classes="dics", **options)


# ------------------------------------------------------------------------------------------------------------ messages


def nothing_there(folder: Path) -> None:
    (folder / "in").mkdir()


def bad_image(folder: Path) -> None:
    image(folder / "in/a.png")
    (folder / "in/b.png").write_bytes(b"no image")


def bad_video(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in/c.mp4").write_bytes(b"no video")


@pytest.mark.parametrize(
    ("spoil", "source", "message"),
    [
        (nothing_there, "in", "source=in: no images or videos there"),
        (nothing_there, "in/*.png", "source=in/*.png: no images or videos there"),
        (bad_image, "in", "cannot read 1 image: in/b.png"),
        (bad_image, "in/*.png", "cannot read 1 image: in/b.png"),
        (bad_image, "in/b.png", "cannot read 1 image: in/b.png"),
        (bad_video, "in/c.mp4", "c.mp4"),
    ],
)
def test_bad_sources_are_one_message(model, there, capsys, spoil, source, message):
    spoil(there)
    assert prune_model.main(["predict", f"weights={model.weights}", f"source={source}", "imgsz=32", "device=cpu"]) == 1
    says = capsys.readouterr().err.strip()
    assert message in says and len(says.splitlines()) == 1
    assert not (there / "runs").exists()


def test_boxes_without_an_area_are_no_nodes(model, monkeypatch):
    """A head without distributions, such as YOLO26's, may put a box's left side to the right of its right one."""
    boxes = torch.tensor([[9, 5, 4, 8, 0.9, 0], [1, 1, 6, 6, 0.8, 1], [3, 3, 3, 7, 0.7, 0], [20, 20, 30, 30, 0.6, 0]])
    found = Results(np.zeros((64, 96, 3), np.uint8), "a.png", model.model.names, boxes)
    monkeypatch.setattr(type(model.model), "predict", lambda *_, **__: [found])
    (kept,) = detect_nodes(model.model, [], {})
    assert kept.boxes.conf.tolist() == pytest.approx([0.8, 0.6])


def test_what_is_around_a_rotated_box_ends_at_the_picture(model, there, monkeypatch):
    """Ultralytics clips upright boxes alone: the middle of the one around a diamond in a corner may lie outside."""
    boxes = [[10, 80, 34, 34, np.pi / 4], [200, 80, 9, 9, 0], [48, 32, 8, 8, 0]]
    rows = torch.tensor([[*box, 0.9, 0] for box in boxes])
    found = Results(np.full((64, 96, 3), 90, np.uint8), "a.png", {0: "box"}, obb=rows)
    monkeypatch.setattr(type(model.model), "predict", lambda *_, **__: [found])
    (kept,) = detect_nodes(model.model, [], {})
    wanted = [[0, 80 - 17 * 2**0.5, 10 + 17 * 2**0.5, 64], [44, 28, 52, 36]]
    np.testing.assert_allclose(nodes_of(kept, "auto")[0], wanted, atol=1e-4)
    (predicted,) = model.predict(image(there / "a.png"), **TINY)
    np.testing.assert_allclose(predicted.boxes_xyxy, wanted, atol=1e-4)
    assert predicted.saved.is_file()


def test_nothing_found_is_a_prediction_too(model, there):
    found = model.predict(image(there / "a.png"), conf=0.99, save_txt=True, **TINY)
    assert found[0].parents == [] and found[0].saved.is_file() and found[0].plabels.read_text() == ""
    assert "0 nodes" in repr(found)


@pytest.mark.parametrize("sides", [[(240, 160)], [(240, 160), (160, 240), (200, 200)]], ids=["alike", "different"])
@pytest.mark.parametrize("kind", ["paths", "arrays"])
def test_a_long_list_is_read_in_parts_and_found_as_in_one(sides, kind, tmp_path, monkeypatch):
    """All at once, 1,000 photographs took gigabytes; how they are padded goes by all of them, as in one batch."""
    drawn = [draw_one(0, "val", i).image for i in range(35)]
    arrays = [cv2.resize(image, sides[i % len(sides)]) for i, image in enumerate(drawn)]
    images = [str(tmp_path / f"{i}.png") for i in range(35)]
    for path, array in zip(images, arrays):
        cv2.imwrite(path, array)
    images = images if kind == "paths" else arrays
    model = YOLO(ROOT / "weights/diagram-yolov8n.pt")
    settings = {"imgsz": 256, "device": "cpu"}
    wanted = [result.boxes.data for result in model.predict(images, **NODES, **settings)]
    predict, seen = model.predict, []
    monkeypatch.setattr(model, "predict", lambda source, **given: seen.append(len(source)) or predict(source, **given))
    monkeypatch.setattr("ultralytics.slim.prediction.nodes.distinct_nodes", lambda boxes, scores: np.arange(len(boxes)))
    found = [result.boxes.data for result in detect_nodes(model, images, settings)]
    assert seen == [16, 16, 3] and sum(map(len, wanted)) > 35
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-2)
