"""The tables of the page, from the records."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from .asking import asked
from .measuring import Record
from .tables import NOTHING, Estimate, Values, cell, estimate, markdown, paired, winners

UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
CONTROLS = ("sobel", "input", "random", "response_energy")
KNOWN = {  # by title: the value's name, and whether high is better; None where neither is
    "color hit": ("color_hit", True),
    "color Pearson": ("color_pearson", True),
    "filter hit": ("filter_hit", True),
    "filter discrimination": ("filter_disc", True),
    "filter Pearson": ("filter_pearson", True),
    "stamp mass": ("stamp_mass", True),
    "stamp against decoy": ("decoy_share", True),
    "redrawn, signed": ("redrawn_signed", None),
    "redrawn, absolute": ("redrawn_abs", None),
    "constant scorer": ("constant", None),
}


def tables(records: Sequence[Record], options: argparse.Namespace) -> dict[str, str]:
    """Return every generated part of the page by name."""
    by_network = {
        network: [r for r in records if r["network"] == network and is_current(r, options)]
        for network in options.networks
    }
    by_network = {network: own for network, own in by_network.items() if own}
    known = [r for r in records if r["network"].startswith(("gratings/", "stamps/"))]
    found = {
        "settings": f"{made_by(options)}\n\n{settings_table()}",
        "winners": winners_table(by_network, known),
    }
    for network, own in by_network.items():
        found[network] = "\n\n".join(
            [ends(own), area_table(own), noise_table(own), form_table(own), *refusals(own)]
        )
    return {**found, "known": known_table(known)} if known else found


def is_current(record: Record, options: argparse.Namespace) -> bool:
    """Return whether a record was made with the settings of today."""
    name = record["method"]
    return name in asked() and record["settings"] in [
        options.protocol.key(name, full=full) for full in (False, True)
    ]


def made_by(options: argparse.Namespace) -> str:
    """Return the command with its sizes, and the versions."""
    sizes = " ".join(
        f"--{name.replace('_', '-')} {getattr(options, name)}"
        for name in ("images", "slow_images", "steps", "fills", "seeds")
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("edgefilter", "torch", "captum"))
    return (
        f"Made by `python benchmarks/methods.py --data DATA --results FILE {sizes}` ({versions}). Each table says "
        "how many images were asked about."
    )


def settings_table() -> str:
    """Return the methods and their settings."""
    rows = [
        [name, method.settings, "absolute value" if method.absolute else "signed value"]
        for name, method in asked().items()
    ]
    return markdown(["method", "settings", "pixels ranked by"], rows)


# --- values by method and image -------------------------------------------------------------------------------


def by_image(records: Sequence[Record], value: Callable[[Record], float | None]) -> dict[str, Values]:
    """Return a value of each method on each image, in the order of the methods."""
    found: dict[str, dict[str, float]] = {name: {} for name in asked()}
    for record in records:
        number = value(record)
        if number is not None:
            found.setdefault(record["method"], {})[f"{record['network']} {record['image']}"] = number
    return {name: values for name, values in found.items() if values}


def area(name: str, form: str | None = None) -> Callable[[Record], float | None]:
    """Return a function of a record: an area, in one form or in the one that the method's authors use."""

    def value(record: Record) -> float | None:
        kind = form or ("absolute" if asked()[record["method"]].absolute else "signed")
        if f"deletion {kind}" not in record:
            return None
        both = {key: record[f"{key} {kind}"] for key in ("deletion", "insertion")}
        return float({**both, "difference": both["insertion"] - both["deletion"]}[name])

    return value


def estimated(values: Values) -> Estimate:
    """Return the mean over images."""
    return estimate(list(values.values()))


MEASURES = {  # by title: a function of a record, and whether high is better
    "deletion": (area("deletion"), False),
    "insertion": (area("insertion"), True),
    "insertion minus deletion": (area("difference"), True),
    "AUPC": (lambda record: record.get("AUPC"), False),
    "total variation": (lambda record: record.get("variation"), False),
}


# --- tables ---------------------------------------------------------------------------------------------------


def winners_table(by_network: Mapping[str, Sequence[Record]], known: Sequence[Record]) -> str:
    """Return who wins what: the names by measure and network, the best mean first, controls in italics."""
    rows = []
    for title, (value, high) in MEASURES.items():
        for network, own in by_network.items():
            rows.append([f"{title}, {network}", ranked(by_image(own, value), high=high)])
    for title, (key, high) in KNOWN.items():
        if high is not None:
            rows.append([title, ranked(by_image(known, lambda record, key=key: record.get(key)), high=high)])
    return markdown(["measure", "winners"], rows)


def ranked(values: Mapping[str, Values], *, high: bool) -> str:
    """Return the winners, the best mean first."""
    found = sorted(
        winners(values, high=high), key=lambda name: estimated(values[name]).mean * (-1 if high else 1)
    )
    return ", ".join(f"*{name}*" if name in CONTROLS else name for name in found)


def ends(records: Sequence[Record]) -> str:
    """Return the probabilities at the ends of the curves."""
    found = [
        by_image(records, lambda record, key=key: record[key])["random"]
        for key in ("plain", "blurred", "zero")
    ]
    plain, blurred, zero = (estimated(values).mean for values in found)
    return (
        f"{len(found[0])} images. Mean probability of the predicted class: {plain:.2f} for the image, {blurred:.2f} for the blurred image, "
        f"from which insertion starts, and {zero:.2f} for zero, where deletion ends."
    )


def area_table(records: Sequence[Record]) -> str:
    """Return the areas of one network; winners in bold."""
    columns = {"deletion": False, "insertion": True, "difference": True}
    found = {column: by_image(records, area(column)) for column in columns}
    wins = {column: winners(found[column], high=high) for column, high in columns.items()}
    last = found["difference"]
    best = max(last, key=lambda name: estimated(last[name]).mean)
    rows = []
    for name in last:
        cells = [cell(estimated(found[column][name]), bold=name in wins[column]) for column in columns]
        behind = paired(last[name], last[best])
        rows.append(
            [name, str(len(last[name])), *cells, NOTHING if name == best or behind is None else cell(behind)]
        )
    heads = [f"{column} {UP if high else DOWN}" for column, high in columns.items()]
    return markdown(["method", "images", *heads, f"behind {best}"], rows)


def noise_table(records: Sequence[Record]) -> str:
    """Return SmoothTaylor's measures of one network."""
    columns = {"AUPC": False, "variation": False}
    found = {column: by_image(records, lambda record, key=column: record.get(key)) for column in columns}
    wins = {column: winners(found[column], high=high) for column, high in columns.items()}
    rows = []
    for name, values in found["variation"].items():
        perturbed = found["AUPC"].get(name, {})
        first = cell(estimated(perturbed), bold=name in wins["AUPC"]) if perturbed else NOTHING
        rows.append(
            [name, str(len(perturbed)), first, cell(estimated(values), bold=name in wins["variation"])]
        )
    return markdown(["method", "images", f"AUPC {DOWN}", f"total variation {DOWN}"], rows)


def form_table(records: Sequence[Record]) -> str:
    """Return insertion minus deletion by signed and by absolute values, for the methods where they differ."""
    forms = {form: by_image(records, area("difference", form)) for form in ("signed", "absolute")}
    rows = []
    for name, values in forms["signed"].items():
        gain = paired(values, forms["absolute"][name])
        if values != forms["absolute"][name] and gain is not None:
            rows.append([name, *(cell(estimated(found[name])) for found in forms.values()), cell(gain)])
    return markdown(
        ["method", f"by signed values {UP}", f"by absolute values {UP}", "absolute minus signed"], rows
    )


def refusals(records: Sequence[Record]) -> list[str]:
    """Return a list of what refused the network, if anything did."""
    said = {record["method"]: record["failure"] for record in records if "failure" in record}
    return ["Not measured:\n\n" + "\n".join(f"- {name}: {why}" for name, why in said.items())] if said else []


def known_table(records: Sequence[Record]) -> str:
    """Return what is found of what is known: means over networks, the worst one for a constant scorer."""
    found = {key: by_image(records, lambda record, key=key: record.get(key)) for key, _ in KNOWN.values()}
    wins = {key: winners(found[key], high=high) for key, high in KNOWN.values() if high is not None}
    names = [name for name in (*asked(), "response_energy") if any(name in found[key] for key in found)]
    rows = []
    for name in names:
        cells = []
        for key, _ in KNOWN.values():
            values = found[key].get(name)
            if not values:
                cells.append(NOTHING)
            elif key == "constant":
                cells.append(f"{max(values.values()):.0e}")
            else:
                cells.append(cell(estimated(values), bold=name in wins.get(key, ())))
        asked_about = [
            str(len(found[key].get(name, {}))) if name in found[key] else NOTHING
            for key in ("color_hit", "filter_hit", "stamp_mass")
        ]
        rows.append([name, ", ".join(asked_about), *cells])
    heads = [
        f"{title} {UP}" if high else f"{title} {DOWN}" if high is False else title
        for title, (_, high) in KNOWN.items()
    ]
    return markdown(["method", "networks", *heads], rows)
