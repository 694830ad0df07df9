"""Splits: nobody on two sides, shares and classes as asked, and the refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionjax import splits
from fusionjax.card import SplitPlan
from fusionjax.errors import RecordError


def cohort(patients: int, seed: int, records: int = 1, classes=(0.6, 0.3, 0.1)) -> pd.DataFrame:
    """Records of patients who have 1 to `records` each, at two sites, years apart."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, records + 1, patients)
    patient = np.repeat(np.arange(patients), count)
    size = len(patient)
    return pd.DataFrame(
        {
            "id": np.arange(size).astype(str),
            "label": rng.choice(len(classes), patients, p=classes)[patient],
            "group": [f"p{i}" for i in patient],
            "site": np.where(patient % 3 == 0, "north", "south"),
            "date": pd.to_datetime(
                [f"{2000 + i % 20}-01-{1 + j % 28:02d}" for j, i in enumerate(patient)]
            ),
            "split": "",
            "row": np.arange(size) + 2,
        }
    )


def refused(plan: SplitPlan, table: pd.DataFrame) -> RecordError:
    with pytest.raises(RecordError) as caught:
        splits.make(plan, table)
    return caught.value


def groups(table: pd.DataFrame, rows: np.ndarray) -> set[str]:
    return set(table["group"].to_numpy()[rows])


PLANS = [
    SplitPlan(),
    SplitPlan(test=0.4, validation=0.3, seed=7),
    SplitPlan("site", holdout=("north",)),
    SplitPlan("date"),
]


@given(
    seed=st.integers(0, 999),
    patients=st.integers(60, 150),
    records=st.integers(1, 6),
    plan=st.sampled_from(PLANS),
)
@settings(deadline=None, max_examples=60)
def test_every_labelled_record_is_on_one_side_and_so_is_its_group(seed, patients, records, plan):
    table = cohort(patients, seed, records, classes=(0.6, 0.4))
    table.loc[table.index % 7 == 0, "label"] = -1
    split = splits.make(plan, table)
    rows = np.concatenate(split)
    assert sorted(rows) == list(np.flatnonzero(table["label"] >= 0))
    train, validation, test = (groups(table, side) for side in split)
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    assert all(np.all(np.diff(side) > 0) for side in split)


@given(seed=st.integers(0, 999))
@settings(deadline=None, max_examples=20)
def test_single_records_are_divided_to_within_one_record_a_class(seed):
    table = cohort(200, seed)
    split = splits.make(SplitPlan(), table)
    label = table["label"].to_numpy()
    for rows, share in zip(split, (0.65, 0.15, 0.2), strict=True):
        got = np.bincount(label[rows], minlength=3)
        assert np.abs(got - share * np.bincount(label)).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_patients_with_many_records_are_on_every_side(seed):
    table = cohort(300, seed, records=9)
    split = splits.make(SplitPlan(), table)
    share = [len(rows) / len(table) for rows in split]
    np.testing.assert_allclose(share, (0.65, 0.15, 0.2), atol=0.01)
    size = table["group"].map(table["group"].value_counts()).to_numpy()
    means = [size[rows].mean() for rows in split]
    assert np.ptp(means) < 1.0


def test_the_seed_decides_and_the_order_of_rows_does_not():
    table = cohort(100, 0, records=3)
    split = splits.make(SplitPlan(), table)
    again = splits.make(SplitPlan(), table.iloc[::-1].reset_index(drop=True))
    other = splits.make(SplitPlan(seed=1), table)
    assert groups(table, split.test) == groups(table.iloc[::-1], again.test)
    assert groups(table, split.test) != groups(table, other.test)


def test_a_class_of_few_records_is_learnt_from_first():
    table = cohort(100, 0, classes=(0.5, 0.5))
    table.loc[:1, "label"] = 2
    split = splits.make(SplitPlan(), table)
    assert {0, 1} <= set(split.train)


def test_a_site_held_out_is_the_test():
    table = cohort(90, 1)
    split = splits.make(SplitPlan("site", holdout=("north",)), table)
    assert set(split.test) == set(np.flatnonzero(table["site"] == "north"))
    rest = len(table) - len(split.test)
    assert len(split.validation) / rest == pytest.approx(0.15 / 0.8, abs=0.03)


def test_nothing_in_training_is_later_than_the_test():
    table = cohort(150, 2, records=4)
    split = splits.make(SplitPlan("date"), table)
    date = table["date"].to_numpy()
    last = table.groupby("group")["date"].max()
    cut = min(last[group] for group in groups(table, split.test))
    assert max(date[split.train]) < cut
    assert len(split.test) / len(table) == pytest.approx(0.2, abs=0.03)


def test_a_column_is_followed_and_lends_validation_where_it_names_none():
    table = cohort(100, 3, records=2)
    table["split"] = np.where(table["group"].str.endswith("1"), "test", "train")
    split = splits.make(SplitPlan("column"), table)
    assert set(split.test) == set(np.flatnonzero(table["split"] == "test"))
    assert len(split.validation) > 0
    table["split"] = np.where(table["group"].str.endswith("2"), "validation", table["split"])
    split = splits.make(SplitPlan("column"), table)
    assert set(split.validation) == set(np.flatnonzero(table["split"] == "validation"))


def test_refuses_a_group_in_two_splits_and_names_both_rows():
    table = cohort(40, 4)
    table["split"] = np.where(table.index < 20, "train", "test")
    table.loc[30, "group"] = table.loc[10, "group"]
    error = refused(SplitPlan("column"), table)
    assert (error.row, error.column) == (32, "split")
    assert "train, by row 12" in str(error)
    assert str(table.loc[10, "group"]) not in str(error)


def test_refuses_a_group_at_a_site_held_out_and_at_another():
    table = cohort(40, 4)
    table["group"] = "p" + (table.index // 2).astype(str)
    assert refused(SplitPlan("site", holdout=("north",)), table).column == "site"


@pytest.mark.parametrize(
    ("column", "value", "plan", "words"),
    [
        ("split", "validtion", SplitPlan("column"), "Did you mean 'validation'?"),
        ("split", "", SplitPlan("column"), "in no split"),
        ("date", pd.NaT, SplitPlan("date"), "no date"),
    ],
)
def test_refuses_a_cell_and_names_its_row(column, value, plan, words):
    table = cohort(60, 5)
    table["split"] = np.where(table.index < 30, "train", "test")
    table.loc[7, column] = value
    error = refused(plan, table)
    assert error.row == 9
    assert words in str(error)


def test_a_record_without_a_label_need_not_say_its_split_or_date():
    table = cohort(60, 5)
    table["split"] = np.where(table.index < 30, "train", "test")
    table.loc[7, "label"], table.loc[7, "split"], table.loc[7, "date"] = -1, "", pd.NaT
    for plan in (SplitPlan("column"), SplitPlan("date")):
        assert 7 not in np.concatenate(splits.make(plan, table))


def test_records_of_one_day_cannot_be_split_by_date():
    table = cohort(60, 6).assign(date=pd.Timestamp("2020-01-01"))
    assert "left for train" in str(refused(SplitPlan("date"), table))


def test_records_of_one_day_are_not_parted():
    table = cohort(60, 6, classes=(0.5, 0.5))
    table["date"] = pd.to_datetime(np.resize(["2019-01-01", "2020-01-01"], len(table)))
    test = splits.make(SplitPlan("date"), table).test
    assert set(test) == set(np.flatnonzero(table["date"] == "2020-01-01"))


def test_refuses_an_unknown_site_with_the_nearest():
    assert "'north'" in str(refused(SplitPlan("site", holdout=("nort",)), cohort(40, 0)))


def test_refuses_a_class_that_only_the_test_has():
    table = cohort(60, 8, classes=(0.5, 0.5))
    table.loc[table["site"] == "north", "label"] = 2
    plan = SplitPlan("site", holdout=("north",))
    assert "class number 3" in str(refused(plan, table))
    with pytest.raises(RecordError, match="the class 'c' has no training record"):
        splits.make(plan, table, ("a", "b", "c"))


@pytest.mark.parametrize("size", [0, 1, 2])
def test_refuses_too_few_records(size):
    assert refused(SplitPlan(), cohort(30, 0).iloc[:size])


def test_halve_keeps_groups_whole_and_classes_balanced():
    table = cohort(200, 9, records=3)
    rows = np.arange(50, len(table))
    first, second = splits.halve(rows, table, 0.5, seed=3)
    assert sorted([*first, *second]) == list(rows)
    assert not groups(table, first) & groups(table, second)
    label = table["label"].to_numpy()
    shares = [np.bincount(label[side], minlength=3) / len(side) for side in (first, second)]
    np.testing.assert_allclose(*shares, atol=0.03)
