"""Bad input is named before anything is trained or written."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prune_model import PruneModel
from ultralytics import YOLO
from ultralytics.data.base import BaseDataset
from ultralytics.slim import files
from ultralytics.slim.errors import InputError, SlimError
from ultralytics.slim.files import (
    make_folder,
    partial_of,
    plain,
    scratch_folder,
    write_json,
    write_stand_in,
    write_whole,
)
from ultralytics.slim.inputs import data as data_module
from ultralytics.slim.inputs import images
from ultralytics.slim.inputs import weights as weights_module
from ultralytics.slim.inputs.data import check_data, find_data, prepare_data, relations_folder
from ultralytics.slim.inputs.images import label_files, list_images, typical_images
from ultralytics.slim.inputs.references import check_references
from ultralytics.slim.inputs.sources import check_source
from ultralytics.slim.inputs.weights import find_weights, open_model

from random_models import randomised
from short_runs import MINI


@pytest.fixture
def data(tiny_data, tmp_path) -> Path:
    """A copy of the tiny data set to spoil; path of its YAML."""
    data_module._check_data.cache_clear()  # by path and content, which another test may have had, too
    folder = tmp_path / "mine"
    shutil.copytree(tiny_data.parent, folder)
    yaml = folder / "tiny.yaml"
    yaml.write_text(tiny_data.read_text().replace(tiny_data.parent.as_posix(), folder.as_posix()))
    return yaml


def test_good_data_is_read(data):
    assert check_data(str(data))["names"] == {0: "box", 1: "disc"}


def test_missing_weights_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"weights=nope.pt: no such file in .* or {tmp_path}; give the path"):
        find_weights("nope.pt", tmp_path)
    with pytest.raises(FileNotFoundError, match="is a folder"):
        find_weights(tmp_path, tmp_path)


def test_an_exported_model_may_be_a_folder(tmp_path):
    (folder := tmp_path / "best_openvino_model").mkdir()
    assert find_weights(folder, tmp_path) == str(folder)


@pytest.mark.parametrize(
    "use",
    [
        lambda path, data: PruneModel(path).prune(0.5, save_dir=path.with_suffix(".pt")),
        lambda path, data: PruneModel(path).analyse(data),
        lambda path, data: PruneModel(path).export("torchscript"),
    ],
    ids=["prune", "analyse", "export"],
)
def test_an_exported_model_has_no_layers_to_work_on(data, tmp_path, use):
    (path := tmp_path / "best.onnx").touch()
    with pytest.raises(TypeError, match="needs a PyTorch model .*best.onnx"):
        use(path, data)


def test_a_data_yaml_is_no_model(data, tmp_path):
    with pytest.raises(ValueError, match="describes no model"):
        find_weights(data, tmp_path)


def test_files_are_found_beside_the_wrapper(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir(), (tmp_path / "home").mkdir()
    (tmp_path / "home/a.yaml").touch(), (tmp_path / "home/b.yaml").touch(), (tmp_path / "here/b.yaml").touch()
    monkeypatch.chdir(tmp_path / "here")
    assert find_data("a.yaml", tmp_path / "home") == str(tmp_path / "home/a.yaml")
    assert find_data("b.yaml", tmp_path / "home") == "b.yaml", "the working directory comes first"


def test_published_names_are_left_to_ultralytics(tmp_path):
    assert find_weights("yolov8n.pt", tmp_path) == "yolov8n.pt"


def test_yaml_without_val(data):
    data.write_text(data.read_text().replace("val:", "vall:"))
    with pytest.raises(SyntaxError, match="'val:' key missing"):
        check_data(str(data))


def test_missing_yaml(tmp_path):
    with pytest.raises(FileNotFoundError, match="data=nope.yaml: no such file"):
        find_data("nope.yaml", tmp_path)


def test_images_without_labels(data):
    shutil.rmtree(data.parent / "labels/train")
    with pytest.raises(
        FileNotFoundError, match=r"train: none of the 8 images has a label file; expected for .*train0.png"
    ):
        check_data(str(data))


def test_folder_without_images(data):
    shutil.rmtree(data.parent / "images/train")
    (data.parent / "images/train").mkdir()
    with pytest.raises(FileNotFoundError, match="'train:' holds no images"):
        check_data(str(data))


def test_some_images_without_labels_are_named(data, log):
    (data.parent / "labels/train/train3.txt").unlink()
    check_data(str(data))
    assert "train: no label file" in log.text and "train3.png" in log.text and "train2.png" not in log.text


def test_an_empty_label_file_is_legal(data, log):
    (data.parent / "labels/train/train3.txt").write_text("")
    check_data(str(data))
    assert not log.text


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("7 0.5 0.5 0.2 0.2", "Label class 7 exceeds dataset class count 2"),
        ("0 0.5 0.5 1.7 0.2", "out of bounds coordinates"),
        ("0 0.5 0.5 -0.2 0.2", "negative label values"),
        ("0.5 0.5 0.5 0.2 0.2", "non-integer class"),
        ("0 0.5 0.5 0.2", "5 columns"),
        ("box 0.5 0.5 0.2 0.2", "could not convert string"),
    ],
)
def test_labels_that_would_be_dropped_are_named_with_the_reason(data, log, monkeypatch, row, why):
    """Ultralytics trains without these images, and says so among the lines of its cache."""
    label = data.parent / "labels/train/train3.txt"
    label.write_text(row + "\n")
    with pytest.raises(ValueError, match=rf"train: Ultralytics leaves out 1 label file: .*train3.txt \(.*{why}.*of 8"):
        check_data(str(data))
    monkeypatch.setattr(images, "MOST_DROPPED", 0.2)
    assert check_data(str(data))["nc"] == 2
    assert "leaves out 1 label file" in log.text and why in log.text


def test_images_that_share_a_label_are_named(data, log):
    shutil.copy(data.parent / "images/train/train0.png", data.parent / "images/train/train0.webp")
    check_data(str(data))
    assert "share 1 label file" in log.text and "train0.txt" in log.text


@pytest.mark.parametrize("name", ["train2.png", "new.webp", "new.jpg", "new.JPEG"])
def test_unreadable_images_are_named(data, name):
    (data.parent / "images/train" / name).write_bytes(b"not an image")
    with pytest.raises(ValueError, match=rf"cannot read 1 image: .*{name} \(cannot identify image file"):
        check_data(str(data))


def test_a_truncated_image_is_named(data):
    path = data.parent / "images/val/val1.png"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="val1.png"):
        check_data(str(data))


def test_many_bad_images_are_counted(data):
    for image in (data.parent / "images/train").iterdir():
        image.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read 8 images: .* and 3 more"):
        check_data(str(data))


def test_images_are_found_in_depth_and_in_lists(data):
    train = data.parent / "images/train"
    (train / "deep").mkdir()
    (train / "train0.png").rename(train / "deep/train0.png")
    lines = f"./images/train/train1.png\n\n{train / 'train2.png'}\nnotes.md\n"
    (data.parent / "list.txt").write_text(lines, encoding="utf-8-sig")  # as a Windows editor saves it
    assert len(list_images(str(train))) == 8
    assert len(list_images([str(train), str(data.parent / "list.txt")])) == 10
    (train / "._train0.png").write_bytes(b"what a Mac leaves in an archive")
    check_source(train)
    (data.parent / "links").mkdir()
    (data.parent / "links/there").symlink_to(train, target_is_directory=True)
    for source in ([str(train), str(data.parent / "list.txt")], str(data.parent / "links")):
        ours = [str(image) for image in list_images(source)]
        assert ours == LoadedImages.get_img_files(LoadedImages, source), "what Ultralytics trains on"
    with pytest.raises(FileNotFoundError, match="nope"):
        list_images(str(train / "nope"))


class LoadedImages(BaseDataset):
    """Ultralytics' search for the images of a split, by itself."""

    prefix, fraction = "", 1.0


def test_source_is_checked(data, tmp_path):
    image = data.parent / "images/val/val0.png"
    for good in (image, image.parent, str(image.parent / "*.png"), 0, "0", "https://x.org/a.png"):
        check_source(good)
    image.write_bytes(b"")
    for bad in (image, image.parent, tmp_path / "nope.png"):
        with pytest.raises((ValueError, FileNotFoundError), match=r"val0.png|nope.png"):
            check_source(bad)


@pytest.mark.parametrize("stem", ["a", "x" * 251, "\u56fe" * 83], ids=["short", "long", "of three bytes each"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, stem):
    path = tmp_path / f"new/{stem}.txt"

    def breaks(partial):
        assert partial == partial_of(path) and partial.name.startswith(".") and ".partial" in partial.name
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError):
        write_whole(path, breaks)
    assert list(path.parent.iterdir()) == []
    write_whole(path, lambda partial: partial.write_text("whole"))
    with pytest.raises(OSError):
        write_whole(path, breaks)
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_relations_are_found_beside_the_images(data):
    found = check_data(str(data))
    assert relations_folder(found) is None
    (data.parent / "plabels/val").mkdir(parents=True)
    assert relations_folder(found) == data.parent


def test_typical_images_have_a_middling_number_of_labels(data):
    labels = sorted((data.parent / "labels/val").iterdir())
    for count, label in enumerate(labels):
        label.write_text("0 0.5 0.5 0.1 0.1\n" * count)
    found = typical_images(str(data.parent / "images/val"), 3)
    assert [f.stem for f in found] == [labels[i].stem for i in (2, 1, 3)]


@pytest.mark.parametrize("val", ["images/val", "[images/val, images/train]"])
@pytest.mark.parametrize("root", [".", "../mine", ""])
def test_a_path_relative_to_the_yaml(data, tmp_path, monkeypatch, root, val):
    """Whatever the working directory (CASES 31)."""
    data.write_text(f"path: {root}\ntrain: images/train\nval: {val}\nnames: [box, disc]\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = prepare_data(data, tmp_path)
    assert list_images(check_data(path)["val"])[-1] == data.parent / "images/val/val3.png"


def test_a_yaml_that_changed_is_read_anew(data):
    """In a notebook, where a process lives for days."""
    check_data(data)
    data.write_text(data.read_text().replace("images/val", "images/train"))
    assert check_data(data)["val"].endswith("train")


def test_an_empty_split_is_named(data):
    data.write_text(data.read_text().replace("val: images/val", "val:"))
    with pytest.raises(ValueError, match="tiny.yaml: 'val:' is empty"):
        check_data(data)


def test_labels_belong_to_images_given_as_paths_in_every_release(data, monkeypatch):
    """Up to 8.4.100 `img2label_paths` takes text alone."""
    monkeypatch.setattr(images, "img2label_paths", lambda images: [path.replace("images", "labels") for path in images])
    assert label_files([Path("images/a.png")]) == [Path("labels/a.png")]


def test_a_yaml_that_ultralytics_finds_is_handed_on_as_it_is(data, tmp_path):
    assert prepare_data(data, tmp_path) == str(data)


def test_spaces_and_other_alphabets(data):
    folder = data.parent.with_name("мои схемы 图")
    shutil.copytree(data.parent, folder)
    yaml = folder / "tiny.yaml"
    yaml.write_text(data.read_text().replace(data.parent.as_posix(), folder.as_posix()), encoding="utf-8")
    Image.open(folder / "images/val/val0.png").save(folder / "images/val/val0 é.webp")
    assert len(list_images(check_data(str(yaml))["val"])) == 5


def test_a_forks_own_class_opens_its_models(weights, monkeypatch):
    """As its trainer, which alone knows the loss, is to be found; all else stays YOLO's."""

    class Own(YOLO):
        pass

    assert type(open_model(weights)) is YOLO
    monkeypatch.setattr(weights_module, "own_class", lambda network: (Own, {}))
    assert type(open_model(weights)) is Own


def test_a_list_of_images_that_is_no_utf8_is_named(data):
    (data.parent / "list.txt").write_text("images/train/train1.png\n", encoding="utf-16")  # as PowerShell writes it
    with pytest.raises(InputError, match=r"list\.txt: expected paths of images as UTF-8 text"):
        list_images(str(data.parent / "list.txt"))


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").touch()
    for make in (lambda: make_folder(tmp_path / "file/a"), lambda: scratch_folder(tmp_path / "file", ".x").__enter__()):
        with pytest.raises(SlimError, match="file"):
            make()


def test_a_value_is_plain_as_a_file_gives_it_back(tmp_path):
    value = {"a": (1, 2.5), "b": {3}, "c": range(2), "d": np.arange(2), "e": np.float32(0.5), "f": Path("x/y")}
    expected = {"a": [1, 2.5], "b": [3], "c": [0, 1], "d": [0, 1], "e": 0.5, "f": str(Path("x/y"))}
    assert plain(value) == expected == json.loads(write_json(tmp_path / "a.json", value).read_text(encoding="utf-8"))


def test_processes_that_write_one_stand_in_do_not_meet(tmp_path, monkeypatch):
    """Runs on the same data share it; each has the half-written file to itself."""
    source, partials = tmp_path / "my.yaml", []

    def write(partial):
        partials.append(partial)
        if len(partials) == 1:
            monkeypatch.setattr(files.os, "getpid", lambda: 1)
            write_stand_in(source, "test", write)
        partial.write_text(f"whole of {len(partials)}")

    written = Path(write_stand_in(source, "test", write))
    assert len(set(partials)) == 2 and written.read_text() == "whole of 2"
    assert list(written.parent.iterdir()) == [written]
    shutil.rmtree(written.parent)


@pytest.mark.parametrize("name", ["~nobody-of-this-name/best.pt", f"{'a' * 300}.pt"])
def test_an_odd_path_is_a_file_that_is_not_there(name):
    with pytest.raises(SlimError, match="no such file"):
        find_weights(name)


def test_a_path_that_ultralytics_cannot_open_is_named(weights, tmp_path):
    """It drops the apostrophe, looks for what is left on the web, and names a file that nobody gave."""
    (tmp_path / "Anna's").mkdir()
    path = shutil.copy(weights, tmp_path / "Anna's/best.pt")
    with pytest.raises(InputError, match="Anna's/best.pt: Ultralytics opens no .pt with an apostrophe in its path"):
        open_model(path)
    yaml = shutil.copy(MINI, tmp_path / "Anna's/mini.yaml")
    assert open_model(yaml).task == "detect"  # of these it keeps it


def test_a_yaml_that_does_not_fit_is_no_damaged_file(tmp_path):
    (tmp_path / "mini.yaml").write_text(MINI.read_text().replace("[[-1, 3], 1, Concat", "[[-1, 5], 1, Concat"))
    with pytest.raises(SlimError) as error:
        open_model(tmp_path / "mini.yaml")
    assert "damaged" not in str(error.value) and str(error.value)


def test_a_place_that_may_not_be_looked_into_is_not_taken_for_empty(monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", denied)
    with pytest.raises(PermissionError):
        find_weights("locked/best.pt")


def test_references_have_the_same_classes_whatever_their_case(tmp_path):
    named = {"original": ("box", "disc"), "same": ("Disc ", "BOX"), "other": (7, "x")}
    for name, classes in named.items():
        yolo = randomised(str(MINI), nc=2)
        yolo.model.names = dict(enumerate(classes))
        yolo.save(tmp_path / f"{name}.pt")
    check_references([str(tmp_path / "same.pt")], tmp_path / "original.pt")
    with pytest.raises(InputError, match=r"other.pt: its classes \['7', 'x'\] should be those of"):
        check_references([str(tmp_path / "other.pt")], tmp_path / "original.pt")
