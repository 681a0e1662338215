"""How profiles show themselves in a notebook: figure and tables of what was counted."""

from __future__ import annotations

import math
from typing import Any

from edgefilter._notebook import Picture, Table, Words, bars, number, shown, table

__all__ = ["html_of_confusion", "html_of_folder", "html_of_paired", "html_of_permutation", "html_of_profile"]

FILTERS = 3  # of each class
CONFUSED = 12  # rows


def html_of_profile(profile: Any) -> str:
    """Return a profile as HTML: its figure, and the shares of the colors and the top filters of each class."""
    return shown(profile, lambda: _counted(profile), lambda: _figure(profile), lambda: _classes(profile))


def _counted(profile: Any) -> Words:
    values = profile.values()
    count, unusable = int(values["count"].sum()), int(values["unusable"].sum())
    classes = int((values["count"] > 0).sum())
    if not count:
        return Words(("No image was taken in yet: update(explanation, labels).",))
    left = f" {unusable} without relevance left out." if unusable else ""
    return Words((f"{count} images of {classes} of {profile.num_classes} classes.{left}",))


def _figure(profile: Any) -> Picture | None:
    from edgefilter.plots.themes import themed

    if not bool(profile.values()["count"].any()):
        return None
    alt = f"Shares of colors and filters of {profile.num_classes} classes"
    return themed(lambda: profile.plot()[0], alt)


def _classes(profile: Any) -> Table | None:
    counts = profile.values()["count"].tolist()
    known = [place for place, count in enumerate(counts) if count]
    if not known:
        return None
    colors = profile.colors[:4]
    rows = [
        (profile.class_names[place], str(counts[place]), *_shares(profile, place, colors)) for place in known
    ]
    head = ("class", "images", *(f"share of {color}" for color in colors), "top filters")
    return table("Mean shares with the half-width of their 95 % interval", head, rows)


def _shares(profile: Any, place: int, colors: tuple[str, ...]) -> list[str]:
    found = {share.name: share for share in profile.top(place, len(profile.colors), "color")}
    said = []
    for color in colors:
        half = (found[color].high - found[color].low) / 2
        said.append(
            f"{round(found[color].mean, 2) + 0.0:.2f}"
            + ("" if math.isnan(half) else f" \N{PLUS-MINUS SIGN} {half:.2f}")
        )
    top = ", ".join(
        f"{share.label.replace('_', ' ')} {share.mean:.2f}" for share in profile.top(place, FILTERS)
    )
    return [*said, top]


def html_of_folder(found: Any) -> str:
    """Return what a folder gave as HTML: the profile, and what was found beside it."""
    return shown(
        found,
        lambda: _counted(found.profile),
        lambda: _figure(found.profile),
        lambda: _classes(found.profile),
        lambda: None if found.confusion is None else _confused(found.confusion),
        lambda: None if found.permutation is None else _permuted(found.permutation),
        lambda: None if found.paired is None else _differences(found.paired),
        lambda: _files(found),
    )


def _files(found: Any) -> Table | None:
    rows = [(path.name, str(path.parent)) for path in found.files]
    rows += [(str(one.path), f"skipped: {one.reason}") for one in found.skipped]
    return table("Files", ("file", "where"), rows, folded=True) if rows else None


def html_of_confusion(confusion: Any) -> str:
    """Return a confusion as HTML: the accuracy of each class, and what is taken for what."""

    def accuracy() -> Words:
        return Words((f"{confusion.photos} photos, of which {confusion.accuracy:.1%} are predicted right.",))

    def classes() -> Table:
        rows = [(name, str(photos), f"{share:.1%}") for name, (photos, share) in confusion.by_class().items()]
        return table("Accuracy by class", ("class", "photos", "accuracy"), rows)

    return shown(confusion, accuracy, classes, lambda: _confused(confusion))


def _confused(confusion: Any) -> Table | None:
    rows = [(one.label, one.predicted, str(one.photos)) for one in confusion.largest(CONFUSED)]
    return (
        table("Taken for another class most often", ("class", "predicted", "photos"), rows) if rows else None
    )


def html_of_permutation(check: Any) -> str:
    """Return a permutation check as HTML: what the network loses when a part is shuffled between photos."""
    return shown(check, lambda: _permuted(check))


def _permuted(check: Any) -> Table:
    parts = sorted(check.parts, key=lambda part: -part.output)
    losses = bars(part.output for part in parts)
    rows: list[tuple[Any, ...]] = [
        (part.label, loss, number(part.output_error), f"{part.accuracy:.1%}", part.score)
        for part, loss in zip(parts, losses, strict=True)
    ]
    head = ("shuffled", "the output loses", "standard error", "the accuracy loses", "kind")
    return table(f"Shuffled between {check.photos} photos", head, rows)


def html_of_paired(paired: Any) -> str:
    """Return the differences of two networks as HTML."""
    return shown(paired, lambda: _differences(paired))


def _differences(paired: Any) -> Table | None:
    found = [item for score in ("accuracy", "color", "order") for item in _known(paired, score)]
    if not found:
        return None
    rows: list[tuple[Any, ...]] = [
        (
            f"{item.score} {item.label}",
            bar,
            f"{number(item.low)} to {number(item.high)}",
            number(item.first),
            number(item.second),
        )
        for item, bar in zip(found, bars(item.difference for item in found), strict=True)
    ]
    head = ("share of", "difference", "95 % interval", "first network", "second network")
    return table(f"Differences on the same {found[0].photos} photos", head, rows)


def _known(paired: Any, score: str) -> list[Any]:
    try:
        return list(paired.differences(None, score))
    except (KeyError, ValueError):
        return []
