"""What an earlier run of ``edgefilter explain`` has in its files, for one that goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .outputs import Outputs
from .photos import Chosen

__all__ = ["Earlier", "earlier", "without"]

SETTINGS = (
    *("against", "model", "weights_digest", "preprocessing", "bits", "white"),
    *("composite", "calibrate", "bank", "basis", "colors"),
)


class Earlier(NamedTuple):
    """The photos that are done, by what each file has of them."""

    json: tuple[dict[str, Any], ...] = ()
    csv: tuple[dict[str, Any], ...] = ()

    def check_target(self, target: int | None) -> None:
        """Raise if a photo was explained for another class than the one that is asked for, or than the predicted one."""
        for old in self.csv or map(_as_row, self.json):
            predicted = str(old["explained_index"]) == str(old["predicted_index"])
            if predicted if target is None else str(old["explained_index"]) == str(target):
                continue
            raise ValueError(
                f"resume must go on with the target of the earlier run, which explained {old['explained']!r} in {old['image']!r}; "
                f"got {'none' if target is None else f'class {target}'}. Pass the same options, or name other files."
            )

    def check_same(self, row: Mapping[str, Any]) -> None:
        """Raise if a photo was explained in another way than those before."""
        for old in self.csv[:1] or map(_as_row, self.json[:1]):
            for name in SETTINGS:
                given, before = row.get(name) or "", old.get(name) or ""
                if str(given) != str(before):
                    raise ValueError(
                        f"resume must go on with the {name} of the earlier run, {before!r}; got {given!r}. Pass the same options, or "
                        "name other files."
                    )
            missing = {name for name in row if name.startswith("color_")} ^ {
                name for name in old if name.startswith("color_")
            }
            if missing:
                raise ValueError(
                    f"resume must go on with the colors of the earlier run; got {', '.join(sorted(missing))} in one of the two only. "
                    "Pass the same options, or name other files."
                )


def _as_row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a photo in a JSON file, as a CSV has them."""
    colors = {f"color_{name}": value for name, value in one["color"].items()}
    explained, predicted = one["explained"], one["predictions"][0]
    indices = {"explained_index": explained["index"], "predicted_index": predicted["index"]}
    return {
        **colors,
        **one["about"],
        **indices,
        "image": one["image"],
        "explained": explained["name"],
        "against": explained["against"],
    }


def earlier(photos: Chosen, outputs: Outputs) -> Earlier:
    """Read what an earlier run wrote, as far as all its files have it; nothing where there is none."""
    files = [path for path in (outputs.json, outputs.csv) if path is not None]
    if not files or not photos.several:
        raise ValueError(
            "resume must have several photos, and the file of the earlier run; got "
            f"{'one photo' if files else 'neither --json nor --csv'}. Start without it."
        )
    found = Earlier(
        tuple(_read(outputs.json, json.loads)),
        tuple(_read(outputs.csv, lambda text: csv.DictReader(io.StringIO(text)))),
    )
    parts = [part for part, path in zip(found, (outputs.json, outputs.csv), strict=True) if path is not None]
    done = set.intersection(*({one["image"] for one in part} for part in parts))
    return Earlier(*(tuple(one for one in part if one["image"] in done) for part in found))


def _read(path: Path | None, parse: Any) -> Sequence[dict[str, Any]]:
    if path is None or not path.exists():
        return []
    try:
        rows: list[dict[str, Any]] = list(parse(path.read_text(encoding="utf-8")))
        for row in rows:
            _ = row["image"]
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise ValueError(
            f"resume must go on with a file that explain wrote for several photos; got {str(path)!r}, another one. Name that file."
        ) from cause
    return rows


def without(photos: Chosen, found: Earlier) -> Chosen:
    """Return the photos that are left."""
    done = {one["image"] for one in (*found.json, *found.csv)}
    left = [
        (path, name) for path, name in zip(photos.paths, photos.names, strict=True) if str(path) not in done
    ]
    return photos._replace(paths=tuple(path for path, _ in left), names=tuple(name for _, name in left))
