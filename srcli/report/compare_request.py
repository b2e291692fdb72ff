"""The request behind `sr compare`: images, methods and outputs."""

from dataclasses import dataclass, field
from pathlib import Path

from srcli.methods import MethodOptions
from srcli.report.pictures import Region
from srcli.report.rating_page import RatingTask


@dataclass(frozen=True)
class CompareRequest:
    """Several methods on images or folders of images, and the sheets, figures and pages to write.

    `truth` is the true image, or a folder of them; with `is_truth`, the images are the truth and are
    downscaled first. `crop` is the region to show, None for those where the methods differ most. With
    `rating`, the pages are for blind rating. An empty `outputs` stands for compare.png and compare.html, or
    rating.html; `max_pixels` is the most pixels of an image, by default as many as its file may hold; an
    empty `models`, without `weights`, for nearest, bicubic and the default model.
    """

    images: tuple[Path, ...]
    outputs: tuple[Path, ...] = ()
    scale: float = 4
    models: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    truth: Path | None = None
    is_truth: bool = False
    crop: Region | None = None
    rating: RatingTask | None = None
    options: MethodOptions = field(default_factory=MethodOptions)
    overwrite: bool = False
    max_pixels: int | None = None
