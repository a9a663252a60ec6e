"""The paper's numbers against counts in its text, each other and the shipped references."""

import pytest

from kintune_paper.iclr2020 import EXPERIMENTS
from kintune_paper.iclr2020.published import Published, published

SETS = ("Dogs", "Caltech", "Indoor", "Birds", "Cars", "Aircrafts", "Flowers")


def numbers(name, *labels) -> dict[str, float]:
    row = published()[name].row(*labels)
    return {each: float(row[each]) for each in SETS if row.get(each, "") != ""}


def counts():
    return {row[0]: [int(value) for value in row[1:]] for row in published()["table1"].rows}


def test_every_experiment_and_nothing_else_has_an_entry():
    assert set(published()) == set(EXPERIMENTS)


def test_table_1_adds_up_to_what_is_known_of_the_sets():
    rows = counts()
    assert rows["Dogs"][1] == 100 * rows["Dogs"][0]
    assert rows["Caltech"][1] == 60 * rows["Caltech"][0]
    assert rows["Flowers"][1] == 20 * rows["Flowers"][0]
    assert rows["Indoor"][1:] == [80 * 67, 20 * 67]
    assert sum(rows["Aircrafts"][1:]) == 100 * 100
    assert sum(rows["Birds"][1:]) == 11_788
    assert sum(rows["Caltech"][1:]) != 29_780
    assert any("14,420" in fault for fault in published()["table1"].faults)
    assert 29_780 - rows["Caltech"][1] == 14_420


@pytest.mark.parametrize("name", ["table2", "table3", "table5", "table6", "table8"])
def test_errors_are_percentages(name):
    for row in published()[name].rows:
        errors = numbers(name, *row[: next(i for i, v in enumerate(row) if v in row[-6:])])
        assert all(1 < error < 60 for error in errors.values())


def test_momentum_0_wins_in_table_2_where_the_text_says_so():
    with_momentum = numbers("table2", 0.9, 0.01, 0.0001)
    without = numbers("table2", 0.0, 0.01, 0.0001)
    better = {name for name in SETS if without[name] < with_momentum[name]}
    assert better == {"Dogs", "Caltech", "Indoor", "Birds"}


def test_momentum_0_wins_in_table_3_from_places_to_indoor_and_from_inat_to_birds():
    for source, near in (("iNat-2017", "Birds"), ("Places-365", "Indoor")):
        assert numbers("table3", source, 0.0)[near] < numbers("table3", source, 0.9)[near]


def test_tables_that_print_the_same_setting_agree_but_for_the_named_conflicts():
    pairs = [
        (("table2", 0.9, 0.01, 0.0001), ("table6", "Rand resized crop", 0.9, 0.01), set()),
        (("table2", 0.0, 0.01, 0.0001), ("table6", "Rand resized crop", 0.0, 0.01), {"Cars"}),
        (("table2", 0.9, 0.01, 0.0001), ("table8", "FT Default", "ImageNet"), {"Caltech"}),
        (("table3", "iNat-2017", 0.9), ("table8", "FT Default", "iNat2017"), set()),
        (("table3", "Places-365", 0.9), ("table8", "FT Default", "Places-365"), set()),
    ]
    for one, other, known in pairs:
        a, b = numbers(*one), numbers(*other)
        assert {name for name in a.keys() & b.keys() if a[name] != b[name]} == known


def test_a_search_finds_nothing_worse_than_the_default():
    for source in ("ImageNet", "iNat2017", "Places-365"):
        default, found = (numbers("table8", f"FT {how}", source) for how in ("Default", "HPO"))
        assert all(found[name] <= default[name] for name in SETS)
    best_of_table_2 = {
        name: min(float(row[3 + place]) for row in published()["table2"].rows)
        for place, name in enumerate(SETS)
    }
    searched = numbers("table8", "FT HPO", "ImageNet")
    assert all(searched[name] <= best_of_table_2[name] for name in SETS)


def test_the_legends_of_figure_4_are_the_rates_of_table_4_and_the_errors_of_table_8():
    table = {row[0]: row for row in published()["table4"].rows}
    columns = published()["table4"].columns
    of_panel = {"a": "ImageNet ResNet-101", "b": "ImageNet DenseNet-121", "c": "ImageNet MobileNet"}
    differing = {
        (panel, name)
        for panel, name, _, rate in published()["figure4"].rows
        if panel in of_panel and table[name][columns.index(f"{of_panel[panel]} η'")] != rate
    }
    assert differing == {("c", "Indoor")}
    for panel, row in (("a", ("FT HPO", "ImageNet")), ("f", ("ST HPO", "-"))):
        errors = {n: e for p, n, e, _ in published()["figure4"].rows if p == panel}
        assert errors == numbers("table8", *row)


def test_the_legends_of_figures_6_and_9_agree_with_tables_5_and_2():
    for panel, method in (("a", "L2 with HPO"), ("b", "L2-SP with HPO")):
        legend = {row[1]: row[2] for row in published()["figure6"].rows if row[0] == panel}
        table = numbers("table5", method)
        differing = {name for name, error in legend.items() if table[name] != error}
        assert differing == ({"Aircrafts"} if panel == "b" else set())
    for name, lr, error in published()["figure9"].rows:
        if lr in (0.01, 0.005):
            assert numbers("table2", 0.9, lr, 0.0001)[name] == error


def test_what_cannot_be_read_is_absent_and_named():
    imagenet = published()["table7"].row("ImageNet")
    assert imagenet["Top-1 error"] == ""
    assert published()["table7"].illegible == ("ImageNet, Top-1 error",)
    assert published()["table4"].row("Caltech")["JFT ResNet-101 sim"] == ""


def test_every_conflict_names_both_places():
    conflicts = [each for entry in published().values() for each in entry.conflicts]
    assert len(conflicts) == 7
    assert all(len(each.values) == len(each.printed_in) == 2 for each in conflicts)


def test_quotations_are_marked():
    quoted = published()["table5"].quoted
    assert all("Li et al., 2018" in row for row in quoted)
    assert {row[0] for row in published()["table5"].rows} > set(quoted)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="more or fewer values"):
        Published(where="here", columns=("a", "b"), rows=((1,),))
