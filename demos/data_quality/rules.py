"""What is wrong with the raw penguins, how much of it, and the rules that put it right.

Pure functions over rows: a bird is a dict with the columns of the CSV as keys, and text or None as values.
"""

import csv
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

Bird = dict[str, str | None]

SPECIES, SEASON, INDIVIDUAL, SEX = "Species", "studyName", "Individual ID", "Sex"
SEX_FROM = "Sex from"
MEASURES = ("Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)")
ISOTOPES = ("Delta 15 N (o/oo)", "Delta 13 C (o/oo)")
OPTIONAL = "Comments"
_OPPOSITE = {"MALE": "FEMALE", "FEMALE": "MALE"}
_BOTH_NAMES = re.compile(r"(\w+) [Pp]enguin \(.+\)")


def read(path: Path) -> list[Bird]:
    """The rows of the CSV, every cell as the text that is there."""
    with path.open(encoding="utf-8", newline="") as file:
        return [dict(row) for row in csv.DictReader(file)]


def profile(birds: list[Bird]) -> dict[str, Any]:
    """How many cells are wrong, by kind of defect; `quality` is the share of those that are right.

    spelling: "NA" where nothing is known, and species that hold two names in two spellings.
    identity: an Individual ID that several rows share, although they are different birds.
    gaps: something unknown that ought to be known.
    """
    cells = sum(len(bird) - (SEX_FROM in bird) for bird in birds)
    shared = Counter(bird[INDIVIDUAL] for bird in birds)
    defects = {
        "spelling": sum(
            value == "NA" or (column == SPECIES and _BOTH_NAMES.fullmatch(value or "") is not None)
            for bird in birds
            for column, value in bird.items()
        ),
        "identity": sum(shared[bird[INDIVIDUAL]] > 1 for bird in birds),
        "gaps": sum(value is None and column != OPTIONAL for bird in birds for column, value in bird.items()),
    }
    return {
        "rows": len(birds),
        "cells": cells,
        "defects": defects,
        "worst": max(defects, key=lambda kind: defects[kind]),
        "quality": round(1 - sum(defects.values()) / cells, 4) if cells else 0.0,
    }


def clean(birds: list[Bird], defect: str) -> tuple[list[Bird], dict[str, int]]:
    """The birds without one kind of defect, as far as a rule can mend it, and what was changed how often."""
    return {"spelling": mend_spelling, "identity": mend_identity, "gaps": mend_gaps}[defect](birds)


def mend_spelling(birds: list[Bird]) -> tuple[list[Bird], dict[str, int]]:
    """ "NA" becomes nothing; a species is called by its common name alone."""
    changed = {"unknown_marked": 0, "species_renamed": 0}
    mended = []
    for bird in birds:
        new = dict(bird)
        for column, value in bird.items():
            if value == "NA":
                new[column] = None
                changed["unknown_marked"] += 1
        both = _BOTH_NAMES.fullmatch(new[SPECIES] or "")
        if both:
            new[SPECIES] = both[1]
            changed["species_renamed"] += 1
        mended.append(new)
    return mended, changed


def mend_identity(birds: list[Bird]) -> tuple[list[Bird], dict[str, int]]:
    """The ids number the nests of one season, so the season belongs to the id."""
    mended = [
        bird
        if (bird[INDIVIDUAL] or "").startswith(f"{bird[SEASON]}-")
        else bird | {INDIVIDUAL: f"{bird[SEASON]}-{bird[INDIVIDUAL]}"}
        for bird in birds
    ]
    return mended, {"ids_completed": sum(new is not old for new, old in zip(mended, birds, strict=True))}


def mend_gaps(birds: list[Bird]) -> tuple[list[Bird], dict[str, int]]:
    """Birds that nobody measured are left out; a sex that is not known follows from the partner's.

    The two adults of a nest are a pair: in all 163 nests where both are known, one is male, one female.
    """
    measured = [bird for bird in birds if any(bird[column] is not None for column in MEASURES)]
    partners: defaultdict[tuple[str | None, ...], list[Bird]] = defaultdict(list)
    for bird in birds:
        partners[nest(bird)].append(bird)
    mended = []
    for bird in measured:
        others = [other for other in partners[nest(bird)] if other is not bird]
        if bird[SEX] is None and len(others) == 1 and (sex := _OPPOSITE.get(others[0][SEX] or "")):
            bird = bird | {SEX: sex, SEX_FROM: "partner"}
        mended.append(bird)
    return mended, {
        "birds_left_out": len(birds) - len(measured),
        "sexes_from_partner": sum(SEX_FROM in bird for bird in mended)
        - sum(SEX_FROM in bird for bird in birds),
    }


def nest(bird: Bird) -> tuple[str | None, ...]:
    """The nest of a bird: its id without the last two characters, A1 or A2, in its season and species."""
    return bird[SEASON], bird[SPECIES], (bird[INDIVIDUAL] or "")[:-2]
