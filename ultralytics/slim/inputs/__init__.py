"""What users give: found, opened and checked, so that a bad path or a bad image stops a run before its first epoch."""

from .data import check_data, prepare_data, relations_folder
from .images import list_images, typical_images
from .weights import find_weights
