"""The rules of the data quality demo, on the real table, with the numbers that its README shows."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from demos.data_quality import rules

RAW = Path(rules.__file__).parent / "penguins_raw.csv"


def defects(birds: list[rules.Bird]) -> tuple[float, int, dict[str, int]]:
    found = rules.profile(birds)
    return found["quality"], found["rows"], found["defects"]


def test_three_rounds_take_the_raw_table_from_0_8379_to_0_9954() -> None:
    birds = rules.read(RAW)
    told: list[Any] = [defects(birds)]
    for _ in range(3):
        birds, changed = rules.clean(birds, rules.profile(birds)["worst"])
        told += [changed, defects(birds)]
    assert told == [
        (0.8379, 344, {"spelling": 680, "identity": 268, "gaps": 0}),
        {"unknown_marked": 336, "species_renamed": 344},
        (0.9463, 344, {"spelling": 0, "identity": 268, "gaps": 46}),
        {"ids_completed": 344},
        (0.9921, 344, {"spelling": 0, "identity": 0, "gaps": 46}),
        {"birds_left_out": 2, "sexes_from_partner": 5},
        (0.9954, 342, {"spelling": 0, "identity": 0, "gaps": 27}),
    ]


def test_a_fourth_round_finds_nothing_that_a_rule_could_mend() -> None:
    birds = cleaned()
    again, changed = rules.clean(birds, rules.profile(birds)["worst"])
    assert changed == {"birds_left_out": 0, "sexes_from_partner": 0}
    assert again == birds


@pytest.mark.parametrize("defect", ["spelling", "identity", "gaps"])
def test_a_rule_applied_twice_changes_nothing_more(defect: str) -> None:
    once, _ = rules.clean(rules.mend_spelling(rules.read(RAW))[0], defect)
    twice, changed = rules.clean(once, defect)
    assert twice == once
    assert not any(changed.values())


def test_rules_leave_their_input_alone() -> None:
    birds = rules.read(RAW)
    for mend in (rules.mend_spelling, rules.mend_identity, rules.mend_gaps):
        mend(birds)
    assert birds == rules.read(RAW)


def test_the_rule_of_the_partner_holds_in_every_nest_where_it_can_be_checked() -> None:
    nests = defaultdict(list)
    for bird in rules.read(RAW):
        nests[rules.nest(bird)].append(bird[rules.SEX])
    pairs = Counter(tuple(sorted(str(sex) for sex in sexes)) for sexes in nests.values())
    assert pairs == {("FEMALE", "MALE"): 163, ("MALE", "NA"): 5, ("FEMALE", "NA"): 2, ("NA", "NA"): 2}


def test_sexes_from_the_partner_are_marked_as_such() -> None:
    inferred = [bird for bird in cleaned() if rules.SEX_FROM in bird]
    assert sorted((bird[rules.INDIVIDUAL], bird[rules.SEX]) for bird in inferred) == [
        ("PAL0708-N29A2", "FEMALE"),
        ("PAL0708-N46A1", "FEMALE"),
        ("PAL0809-N51A1", "FEMALE"),
        ("PAL0910-N24A1", "FEMALE"),
        ("PAL0910-N36A1", "FEMALE"),
    ]


def test_a_bird_without_a_single_partner_stays_unknown() -> None:
    lonely: rules.Bird = {
        "studyName": "S", "Species": "Gentoo", "Individual ID": "N1A1", "Sex": None, "Body Mass (g)": "5000",
        "Culmen Length (mm)": None, "Culmen Depth (mm)": None, "Flipper Length (mm)": None,
    }  # fmt: skip
    other = lonely | {"Individual ID": "N1A2", "Sex": "MALE"}
    third = lonely | {"Individual ID": "N1A3", "Sex": "MALE"}
    assert rules.mend_gaps([lonely])[0] == [lonely]
    assert rules.mend_gaps([lonely, other])[0][0][rules.SEX] == "FEMALE"
    assert rules.mend_gaps([lonely, other, third])[0][0] == lonely


def test_nothing_at_all_has_no_quality() -> None:
    assert rules.profile([])["quality"] == 0.0


def cleaned() -> list[rules.Bird]:
    birds = rules.read(RAW)
    for defect in ("spelling", "identity", "gaps"):
        birds, _ = rules.clean(birds, defect)
    return birds
