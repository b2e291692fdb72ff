"""One self-contained HTML page on which people rate methods without knowing which is which."""

import base64
import hashlib
import json
import random
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from srcli.errors import UsageError
from srcli.report import embed
from srcli.report.page import About, Scene

FORMAT = "sr-ratings"


@dataclass(frozen=True)
class Task:
    """`scores`: one picture at a time, 1 to 5; `pairs`: the better of two. `seed` shuffles."""

    kind: Literal["scores", "pairs"]
    seed: int = 0


@dataclass(frozen=True)
class Item:
    """One method on one image, under a name that tells neither."""

    name: str
    scene: int
    method: int
    source: str


def check_count(methods: int) -> None:
    """Raise `UsageError` for too few methods to compare."""
    if methods < 2:
        raise UsageError("--rate needs two methods or more", "add one with -m")


def page(scenes: list[Scene], abouts: list[About], scale: float, task: Task) -> str:
    """The HTML text. Page and results hold what is what as a key that nobody reads by chance."""
    items, shown = trials(scenes, task)
    data = {
        "format": FORMAT,
        "comparison": identity(scenes, abouts, scale),
        "kind": task.kind,
        "seed": task.seed,
        "key": _key(items, scenes, abouts),
        "trials": shown,
        "scenes": [
            {"width": one.width, "height": one.height, "place": one.places[0], "truth": one.truth is not None}
            for one in scenes
        ],
        "items": {item.name: item.scene for item in items},
    }
    return embed.render(
        "rate.html.j2",
        ["page.css", "rate.css"],
        ["common.js", "view.js", "rate.js"],
        kind=task.kind,
        items=items,
        truths=[one.truth for one in scenes],
        count=len(shown),
        data=data,
    )


def identity(scenes: list[Scene], abouts: list[About], scale: float) -> str:
    """16 hex digits that the same images, made by the same methods, always have, and no others."""
    told = [scale, [about.name for about in abouts]]
    told += [[one.name, [shot.digest for shot in one.shots]] for one in scenes]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def trials(scenes: list[Scene], task: Task) -> tuple[list[Item], list[list[str]]]:
    """All items, and the names of those that are shown together, one or two, in the order of the showing."""
    shuffled = random.Random(task.seed)
    items = _items(scenes, shuffled)
    return items, (_score_trials if task.kind == "scores" else _pair_trials)(items, shuffled)


def _items(scenes: list[Scene], shuffled: random.Random) -> list[Item]:
    """In an order, and with names, that tell nothing."""
    known = [
        (number, k, shot.source) for number, one in enumerate(scenes) for k, shot in enumerate(one.shots)
    ]
    shuffled.shuffle(known)
    names = shuffled.sample(range(16**4), len(known))
    return [Item(f"{name:04x}", *rest) for name, rest in zip(names, known, strict=True)]


def _score_trials(items: list[Item], shuffled: random.Random) -> list[list[str]]:
    """Every item once, and never the same image twice in a row where that can be avoided."""
    left = list(items)
    shuffled.shuffle(left)
    out: list[Item] = []
    while left:
        other = [item for item in left if not out or item.scene != out[-1].scene] or left
        # The image with most left comes first, lest it be left alone at the end.
        chosen = max(other, key=lambda item: sum(one.scene == item.scene for one in left))
        left.remove(chosen)
        out.append(chosen)
    return [[item.name] for item in out]


def _pair_trials(items: list[Item], shuffled: random.Random) -> list[list[str]]:
    """Every two methods on every image once, on sides by chance."""
    pairs = [[a.name, b.name] for a, b in combinations(items, 2) if a.scene == b.scene]
    shuffled.shuffle(pairs)
    for pair in pairs:
        shuffled.shuffle(pair)
    return pairs


def _key(items: list[Item], scenes: list[Scene], abouts: list[About]) -> str:
    told = {item.name: [scenes[item.scene].name, abouts[item.method].name] for item in items}
    return base64.b64encode(json.dumps(told).encode()).decode()


def read_key(text: str) -> dict[str, tuple[str, str]]:
    """Image and method by the name of an item. Raises `ValueError` for what is no key."""
    raw = json.loads(base64.b64decode(text, validate=True))
    return {str(name): (str(image), str(method)) for name, (image, method) in raw.items()}
