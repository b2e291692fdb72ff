"""A self-contained HTML page for blind rating: people rate methods without knowing which is which."""

import base64
import hashlib
import json
import random
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from srcli.errors import UsageError
from srcli.report import embed
from srcli.report.compare_page import MethodSummary, Scene
from srcli.storage.json_text import parse_json

FORMAT = "sr-ratings"


@dataclass(frozen=True)
class RatingTask:
    """`scores`: one picture at a time, from 1 to 5; `pairs`: the better of two. `seed` shuffles."""

    kind: Literal["scores", "pairs"]
    seed: int = 0


@dataclass(frozen=True)
class Item:
    """One method on one image, under a name that reveals neither."""

    name: str
    scene: int
    method: int
    source: str


def check_method_count(methods: int) -> None:
    """Raise `UsageError` for too few methods to compare."""
    if methods < 2:
        raise UsageError("--rate needs at least two methods", "add one with -m")


def render_rating_page(
    scenes: list[Scene], methods: list[MethodSummary], scale: float, task: RatingTask
) -> str:
    """Return the HTML text; the names of methods are encoded, so that nobody reads them by accident."""
    items, order = plan_trials(scenes, task)
    data = {
        "format": FORMAT,
        "comparison": compute_identity(scenes, methods, scale),
        "kind": task.kind,
        "seed": task.seed,
        "key": _encode_key(items, scenes, methods),
        "trials": order,
        "scenes": [
            {"width": one.width, "height": one.height, "place": one.places[0], "truth": one.truth is not None}
            for one in scenes
        ],
        "items": {item.name: item.scene for item in items},
    }
    return embed.render_page(
        "rate.html.j2",
        ["page.css", "rate.css"],
        ["common.js", "view.js", "rate.js"],
        kind=task.kind,
        items=items,
        truths=[one.truth for one in scenes],
        count=len(order),
        data=data,
    )


def compute_identity(scenes: list[Scene], methods: list[MethodSummary], scale: float) -> str:
    """Return 16 hex digits that identify the images and the methods that made them."""
    parts = [scale, [method.name for method in methods]]
    parts += [[one.name, [result.digest for result in one.results]] for one in scenes]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def plan_trials(scenes: list[Scene], task: RatingTask) -> tuple[list[Item], list[list[str]]]:
    """Return all items, and the names of the one or two shown in each trial, in order."""
    rng = random.Random(task.seed)
    items = _name_items(scenes, rng)
    return items, (_plan_score_trials if task.kind == "scores" else _plan_pair_trials)(items, rng)


def _name_items(scenes: list[Scene], rng: random.Random) -> list[Item]:
    """Return items in random order and with random names, which reveal nothing."""
    sources = [
        (number, k, result.source)
        for number, one in enumerate(scenes)
        for k, result in enumerate(one.results)
    ]
    rng.shuffle(sources)
    names = rng.sample(range(16**4), len(sources))
    return [Item(f"{name:04x}", *rest) for name, rest in zip(names, sources, strict=True)]


def _plan_score_trials(items: list[Item], rng: random.Random) -> list[list[str]]:
    """Show every item once, and avoid showing the same image twice in a row."""
    left = list(items)
    rng.shuffle(left)
    out: list[Item] = []
    while left:
        other = [item for item in left if not out or item.scene != out[-1].scene] or left
        # The image with the most items left goes first, or it would be alone at the end.
        chosen = max(other, key=lambda item: sum(one.scene == item.scene for one in left))
        left.remove(chosen)
        out.append(chosen)
    return [[item.name] for item in out]


def _plan_pair_trials(items: list[Item], rng: random.Random) -> list[list[str]]:
    """Show every pair of methods on every image once, on random sides."""
    pairs = [[a.name, b.name] for a, b in combinations(items, 2) if a.scene == b.scene]
    rng.shuffle(pairs)
    for pair in pairs:
        rng.shuffle(pair)
    return pairs


def _encode_key(items: list[Item], scenes: list[Scene], methods: list[MethodSummary]) -> str:
    names = {item.name: [scenes[item.scene].name, methods[item.method].name] for item in items}
    return base64.b64encode(json.dumps(names).encode()).decode()


def decode_key(text: str) -> dict[str, tuple[str, str]]:
    """Return image and method by the name of an item. Raises `ValueError` if `text` is not a key."""
    raw = parse_json(base64.b64decode(text, validate=True))
    if not isinstance(raw, dict):
        raise ValueError("the key is no table")
    return {str(name): (str(image), str(method)) for name, (image, method) in raw.items()}
