"""Low-resolution partners of images, found by the names that data sets use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

# High-resolution names that a rule is derived from, and those that each rule is first tried on.
_SEEDS = 3
_TRIALS = 12

# An image's folder within its set, and the stem of its name.
Key = tuple[str, str]


@dataclass(frozen=True)
class Rule:
    """Texts that high- and low-resolution names have before and after the part that they share."""

    before: tuple[str, str]
    after: tuple[str, str]

    def partner(self, stem: str) -> str | None:
        """Return the low-resolution name of a high-resolution one; None if the rule does not apply."""
        (high_before, low_before), (high_after, low_after) = self.before, self.after
        if not (stem.startswith(high_before) and stem.endswith(high_after)):
            return None
        shared = stem[len(high_before) : len(stem) - len(high_after)]
        return low_before + shared + low_after if shared else None


SAME = Rule(("", ""), ("", ""))


def find_scale_folder(folder: Path, scale: float) -> Path:
    """Return the folder of a scale within a folder, as in DIV2K (`X4`), or the folder itself."""
    return next((folder / f"{x}{scale}" for x in "Xx" if (folder / f"{x}{scale}").is_dir()), folder)


def match_names(high: Sequence[Key], low: Iterable[Key], together: bool = False) -> dict[Key, Key]:
    """Match names: equal ones, or those with the same differences before and after.

    So `0001` has the partner `0001x4`, `img_001_LR`, `LR_0001` or `img_001_SRF_4_LR`. Folders have to be the
    same. High-resolution names without a partner are left out. If both are `together` in one folder, no name
    is its own partner; of two rules that match as many, the one of the names that come first counts.
    """
    available = set(low)
    rules = _derive_rules(high, available) if together else [SAME, *_derive_rules(high, available)]
    tried = {rule: len(_apply(rule, high[:_TRIALS], available)) for rule in rules}
    best = sorted(rules, key=lambda rule: tried[rule], reverse=True)[:_TRIALS]
    matches = (_apply(rule, high, available) for rule in best)
    return max(matches, key=len, default={})


def _apply(rule: Rule, high: Iterable[Key], available: set[Key]) -> dict[Key, Key]:
    partners = ((key, (key[0], rule.partner(key[1]) or "")) for key in high)
    return {key: partner for key, partner in partners if partner in available and partner[1]}


def _derive_rules(high: Sequence[Key], available: set[Key]) -> list[Rule]:
    """Derive rules from the first few names and all that share text with them, the longest text first."""
    found: dict[Rule, int] = {}
    for folder, stem in high[:_SEEDS]:
        for other, name in available:
            if other != folder or name == stem:
                continue
            match = SequenceMatcher(None, stem, name, autojunk=False).find_longest_match()
            if match.size:
                rule = Rule(
                    (stem[: match.a], name[: match.b]),
                    (stem[match.a + match.size :], name[match.b + match.size :]),
                )
                found[rule] = max(found.get(rule, 0), match.size)
    return sorted(found, key=lambda rule: found[rule], reverse=True)
