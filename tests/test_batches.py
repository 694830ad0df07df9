"""Batches are the same whole and streamed, in any order of asking, and padded without a trace."""

from pathlib import Path

import jax
import numpy as np
import pytest

from fusionjax import batches, preprocess
from fusionjax import card as cards
from fusionjax.records.ingest import Records, ingest
from tests import small_folder


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Records:
    folder: Path = tmp_path_factory.mktemp("records")
    rows = small_folder.rows(11)
    rows[4] |= {"image": "", "crp": "", "smoker": ""}
    rows[6]["image"] = "images/6.png;images/7.png"
    return ingest(cards.load(small_folder.write(folder, rows)), folder / "cache")


@pytest.fixture(scope="module")
def statistics(records: Records):
    columns = zip(*(records.source[i] for i in range(len(records.source))), strict=True)
    pairs = zip(records.card.modalities, columns, strict=True)
    return tuple(preprocess.fit(modality, raws) for modality, raws in pairs)


ROWS = np.array([9, 2, 3, 4, 6, 7, 10])


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_gather_takes_the_rows_in_their_order(records, statistics):
    batch = batches.gather(records, ROWS, statistics)
    assert batch.row.tolist() == ROWS.tolist()
    assert batch.label.tolist() == records.table["label"][ROWS].tolist()
    assert batch.inputs[0].values.shape == (7, 2, 16, 16, 1)
    image, *others = batch.presence.T.tolist()
    assert image == [True, True, True, False, True, True, True]
    assert others[3] == image
    assert all(map(all, others[:3]))


def test_gather_in_chunks_is_gather_at_once(records, statistics, monkeypatch):
    once = batches.gather(records, ROWS, statistics)
    monkeypatch.setattr(batches, "RECORDS_A_READ", 2)
    assert_equal(batches.gather(records, ROWS, statistics), once)


def test_chunks_with_more_instances_widen_the_others(records, statistics, monkeypatch):
    one_each = statistics[0]._replace(instances=1)
    monkeypatch.setattr(batches, "RECORDS_A_READ", 1)
    image = batches.gather(records, ROWS, (one_each, *statistics[1:])).inputs[0]
    assert image.values.shape[1] == 2
    assert image.mask.sum(axis=1).tolist() == [1, 1, 1, 0, 2, 1, 1]


@pytest.mark.parametrize("batch_size", [2, 3, 7, 50])
def test_streamed_is_whole_bit_for_bit(records, statistics, batch_size):
    kinds = [
        batches.reader(records, statistics)(ROWS, batch_size, 1),
        batches.reader(records, statistics, budget_bytes=0)(ROWS, batch_size, 1),
    ]
    whole, streamed = kinds
    assert whole[:3] == streamed[:3] == (7, min(7, batch_size), max(1, 7 // batch_size))
    for step in (0, 1, 2, 9, 5, 6, 0):
        assert_equal(whole.at(step), streamed.at(step))
    for one, other in zip(whole.ordered(), streamed.ordered(), strict=True):
        assert_equal(one, other)


def test_a_batch_depends_on_seed_and_step_alone(records, statistics):
    def order(seed: int, steps: range) -> list[list[int]]:
        loader = batches.reader(records, statistics)(ROWS, 3, seed)
        return [loader.at(step).row.tolist() for step in steps]

    assert order(1, range(4, 8)) == order(1, range(8))[4:]
    assert order(1, range(8)) != order(2, range(8))


def test_every_epoch_holds_every_record_once(records, statistics):
    loader = batches.reader(records, statistics)(ROWS, 2, 3)
    seen = np.concatenate([loader.at(step).row for step in range(7)])
    assert sorted(seen[:7]) == sorted(seen[7:]) == sorted(ROWS)
    assert seen[:7].tolist() != seen[7:].tolist()


def test_ordered_pads_with_nothing(records, statistics):
    loader = batches.reader(records, statistics)(ROWS, 4, 0)
    first, last = loader.ordered()
    assert [*first.row.tolist(), *last.row.tolist()] == [*ROWS.tolist(), -1]
    assert last.label.tolist()[-1] == -1
    assert not last.presence[-1].any()
    assert not any(x.mask[-1].any() for x in last.inputs)
    assert jax.tree.map(np.shape, first) == jax.tree.map(np.shape, last)


def test_gathering_compiles_once(records, statistics):
    loader = batches.reader(records, statistics)(ROWS, 3, 0)
    loader.at(0)
    before = batches._take._cache_size()
    for step in range(1, 4):
        loader.at(step)
    list(loader.ordered())
    assert batches._take._cache_size() == before


def test_no_records_make_no_batches(records, statistics):
    for budget in (0, 1 << 30):
        loader = batches.reader(records, statistics, budget)(ROWS[:0], 4, 0)
        assert list(loader.ordered()) == []
