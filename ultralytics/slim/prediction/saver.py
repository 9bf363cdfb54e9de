"""Save predictions as they come: a picture an image, a video a video, and a file of plabels an image or frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ultralytics.data.utils import VID_FORMATS
from ultralytics.utils.files import increment_path

from ..errors import FailedError, WriteError
from ..files import partial_of, write_whole
from ..measuring.detections import boxes_of
from ..plabels import plabels_text
from .nodes import corners_of
from .results import Prediction

if TYPE_CHECKING:
    from relation import Relations
    from ultralytics.engine.results import Results

STREAM_FPS = 30.0  # of a source that does not tell its own


class Saver:
    """Saves the predictions of one call; holds no more than the frames at hand.

    Leaving it finishes the videos that are being written: also after Ctrl-C, which keeps the frames so far; any other
    error leaves none.

    Args:
        folder: Where pictures and videos go, and plabels into its `plabels/`.
        save: Whether to draw.
        save_txt: Whether to write plabels.
        vid_stride: Every how many frames of a video are looked at.
    """

    def __init__(self, folder: Path, save: bool = True, save_txt: bool = False, vid_stride: int = 1):
        self.folder, self.save, self.save_txt, self.vid_stride = folder, save, save_txt, vid_stride
        self._videos: dict[str, Video] = {}  # by source; several only where cameras take turns

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._finish(keep=kind is None or issubclass(kind, (KeyboardInterrupt, GeneratorExit)))

    def keep(
        self, result: Results, relations: Relations, is_stream: bool, draw: Callable[[list[str]], np.ndarray]
    ) -> Prediction:
        """Save one Ultralytics result and return it as a prediction.

        Args:
            result: What was found in an image or a frame.
            relations: Each node's parent.
            is_stream: Whether the source is a camera or another one without end.
            draw: Makes the annotated picture from the classes' names.
        """
        boxes, path = boxes_of(result), Path(result.path)
        numbers = [int(c) for c in boxes.cls]
        names, corners = [result.names[c] for c in numbers], corners_of(result)
        is_frame = is_stream or path.suffix[1:].lower() in VID_FORMATS
        video = self._video(result.path, is_stream) if is_frame else None
        saved = self._draw(path, video, draw(names)) if self.save else None
        labels = None
        if self.save_txt:
            text = plabels_text(numbers, corners, relations.parents, result.orig_shape[::-1])
            labels = self._write_plabels(f"{video.name}_{video.frames:06d}" if video else path.stem, text)
        frame = video.frames if video else None
        nodes = corners.tolist(), names, boxes.conf.tolist(), relations.parents
        return Prediction(result.path, saved, *nodes, labels, frame, relations.mode, relations.others)

    def _video(self, source: str, is_stream: bool) -> Video:
        """Return the video that the next frame of a source belongs to, and count the frame."""
        if source not in self._videos:
            if not is_stream:
                self._finish()
            self._videos[source] = Video(Path(source), self.folder, self.vid_stride)
        self._videos[source].frames += 1
        return self._videos[source]

    def _draw(self, path: Path, video: Video | None, picture: np.ndarray) -> Path:
        if video is None:
            return save_picture(picture, increment_path(self.folder / f"{path.stem}.jpg"))
        return video.add(picture)

    def _write_plabels(self, name: str, text: str) -> Path:
        file = increment_path(self.folder / "plabels" / f"{name}.txt")
        return write_whole(file, lambda partial: partial.write_text(text, encoding="utf-8"))

    def _finish(self, keep: bool = True) -> None:
        for video in self._videos.values():
            video.finish(keep)
        self._videos.clear()


class Video:
    """An annotated video: written beside its name, which it takes when it is finished."""

    def __init__(self, source: Path, folder: Path, vid_stride: int = 1):
        self.source, self.name, self.frames = source, source.stem or "stream", 0
        self.saved = increment_path(folder / f"{self.name}.mp4")
        self.vid_stride, self._writer = vid_stride, None

    @property
    def _partial(self) -> Path:
        return partial_of(self.saved)

    def add(self, picture: np.ndarray) -> Path:
        """Append a BGR frame; return the name that the video will have."""
        if self._writer is None:
            self.saved.parent.mkdir(parents=True, exist_ok=True)
            fps, code = frames_per_second(self.source) / self.vid_stride, cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), code, fps, picture.shape[1::-1])
            if not self._writer.isOpened():
                raise FailedError(f"{self.saved}: this OpenCV cannot write MP4 videos; give save=False")
        self._writer.write(picture)
        return self.saved

    def finish(self, keep: bool) -> None:
        if self._writer is None:
            return
        self._writer.release()
        if keep:
            os.replace(self._partial, self.saved)
        self._partial.unlink(missing_ok=True)


def save_picture(picture: np.ndarray, path: Path) -> Path:
    """Write a BGR picture whole.

    Raises:
        SlimError: The folder cannot be written, or the picture is too large for its format.
    """

    def write(partial: Path) -> None:
        if not cv2.imwrite(str(partial), picture):
            high, wide = picture.shape[:2]
            raise WriteError(f"{path}: this picture of {wide}x{high} pixels could not be written there")

    return write_whole(path, write)


def frames_per_second(path: Path) -> float:
    """Return the frame rate that a video file states, or a usual one."""
    capture = cv2.VideoCapture(str(path)) if path.is_file() else None
    fps = capture.get(cv2.CAP_PROP_FPS) if capture else 0
    return fps if fps and fps > 0 else STREAM_FPS
