"""The report of explanations: of one photo or many, with several outputs each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgefilter.banks.bank import FilterBank
from edgefilter.plots.words import spaced

from .entries import entry_content
from .kernels import bank_behind, drawn_kernel
from .photos import Photo, grouped
from .pictures import PALETTE, as_data_uri, photo_png, small_photo
from .protocols import Reported
from .writing import checked, write_page

__all__ = ["write_report"]


def write_report(
    path: str | Path,
    explanations: Reported | Iterable[Reported],
    images: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    bank: FilterBank | None = None,
    names: Sequence[str] | None = None,
    probabilities: Sequence[Mapping[int, float]] | None = None,
    about: Mapping[str, str] | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write explanations as one HTML file that needs nothing else: no server, no network, no other file.

    Explanations of equal inputs are one photo with several outputs: targets, and contrasts ("why this, not that") where ``against`` was given.

    Parameters
    ----------
    path : str or Path
        Ends in ``.html`` or ``.htm``.
    explanations : Explanation or sequence of Explanation
        Of one image or of many each.
    images : PIL image or array-like, or a list of them, optional
        What to show, one for each photo, as in :meth:`edgefilter.Explanation.plot`. Default: the inputs of the explanations.
    class_names : sequence of str, optional
        One for each output. Default: "output 3" and so on.
    bank : FilterBank, optional
        Its kernels are drawn beside the filters. Default: the bank that the explanation names, if it is a preset or a complete one.
    names : sequence of str, optional
        Of the photos.
    probabilities : sequence of dict, optional
        For each photo, the probability of each target, by index.
    about : dict of str to str, optional
        What else to say about how it was made, such as the model.
    title : str, optional
        Default: what was explained.
    overwrite : bool, default: False
        Whether an existing file may be replaced.

    Returns
    -------
    path : Path

    Raises
    ------
    ValueError
        If an argument does not fit; the message says what does.
    FileExistsError
        If the file is there and ``overwrite`` is False.
    FileNotFoundError
        If its folder is not there.

    Examples
    --------
    >>> import tempfile, torch, edgefilter as ef
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval()
    >>> attribution, photo = ef.EdgeFilterAttribution(net), torch.rand(1, 3, 6, 6)
    >>> found = [attribution.explain(photo, 0), attribution.explain(photo, 1), attribution.explain(photo, 0, against=1)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_report(f"{folder}/cat.html", found, class_names=["cat", "dog"]).read_text(encoding="utf-8")
    >>> "Why cat, not dog" in page
    True
    """
    path = checked(path, overwrite=overwrite)
    photos = grouped(_listed(explanations), images, names, probabilities)
    kernels = _Kernels(bank)
    shown = [_photo_content(photo, place, class_names, kernels) for place, photo in enumerate(photos)]
    entries = [entry for photo in shown for entry in photo["entries"]]
    data = {"palette": PALETTE, "entries": {entry["id"]: entry.pop("data") for entry in entries}}
    rows = _about([one for photo in photos for one in photo.entries], about or {})
    return write_page(
        path,
        "explanation.html.jinja",
        title=title or _title(photos, shown),
        photos=shown,
        kernels=kernels.sets,
        about=rows,
        data=data,
    )


def _listed(given: Any) -> Iterable[Reported]:
    found: Iterable[Reported] = [given] if hasattr(given, "response") else given
    return found


class _Kernels:
    """The kernels that are drawn: each that has a row, once in the page."""

    def __init__(self, bank: FilterBank | None) -> None:
        self.bank = bank
        self.sets: list[dict[str, Any]] = []
        self.known: dict[tuple[str, ...], tuple[int, FilterBank] | None] = {}

    def drawn_for(self, explanation: Reported, places: Iterable[int]) -> int | None:
        """Draw the kernels of some filters, and return the number of their set; None if they are unknown."""
        if explanation.filters not in self.known:
            bank = bank_behind(explanation, self.bank)
            self.known[explanation.filters] = None if bank is None else (len(self.sets), bank)
            if bank is not None:
                height, width = bank.weight.shape[1:]
                self.sets.append({"height": height, "width": width, "kernels": {}})
        if (found := self.known[explanation.filters]) is None:
            return None
        number, bank = found
        for place in places:
            self.sets[number]["kernels"].setdefault(place, drawn_kernel(bank.weight[place]))
        return number


def _photo_content(
    photo: Photo, place: int, class_names: Sequence[str] | None, kernels: _Kernels
) -> dict[str, Any]:
    """Return what the page shows of one photo."""
    share = len(photo.entries)
    entries = []
    for number, one in enumerate(photo.entries):
        probability = photo.probabilities.get(one.target[0]) if one.target else None
        entry = entry_content(one, f"photo-{place}-output-{number}", share, class_names, probability)
        rows = [row.place for row in entry["filters"].rows if row.place >= 0]
        entries.append({**entry, "kernels": kernels.drawn_for(one, rows)})
    png = None if photo.picture is None else as_data_uri(photo_png(photo.picture))
    size = _size(photo)
    smaller = photo.picture is not None and small_photo(photo.picture).size != (size[1], size[0])
    return {
        "id": f"photo-{place}",
        "name": photo.name or f"Photo {place + 1}",
        "png": png,
        "height": size[0],
        "width": size[1],
        "smaller": smaller,
        "entries": entries,
    }


def _size(photo: Photo) -> tuple[int, int]:
    """Return height and width of what the maps lie over."""
    if photo.picture is not None:
        return photo.picture.shape[0], photo.picture.shape[1]
    first = photo.entries[0]
    height, width = (first.response if first.pixel is None else first.pixel).shape[-2:]
    return height, width


def _title(photos: Sequence[Photo], shown: Sequence[Mapping[str, Any]]) -> str:
    """Say what was explained: of one photo its first output, of several how many."""
    if len(shown) > 1:
        return f"{len(shown)} photos explained"
    heading: str = shown[0]["entries"][0]["heading"]
    return f"{photos[0].name}: {heading}" if photos[0].name else heading


def _about(entries: Sequence[Reported], more: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return how all explanations were made; where they differ, what each has."""
    found: dict[str, dict[str, None]] = {}
    for one in entries:
        for name, value in {**more, **one.about}.items():
            found.setdefault(name, {})[str(value)] = None
    first = entries[0]
    rows = [(spaced(name), "; ".join(values)) for name, values in found.items() if "".join(values)]
    parts = f"{len(first.colors)} ({', '.join(first.colors)})", str(len(first.filters))
    return [*rows, ("colors scored", parts[0]), ("filters scored", parts[1])]
