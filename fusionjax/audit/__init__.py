"""What in the records looks too good to be true or would be misread, told before it is believed.

Nothing here changes what a model sees.
"""

from typing import Any

import numpy as np
from jaxtyping import Int

from fusionjax.audit.classes import rare, unlabelled
from fusionjax.audit.cut import cut
from fusionjax.audit.duplicates import duplicates
from fusionjax.audit.giveaways import giveaways
from fusionjax.audit.misread import misread
from fusionjax.audit.sites import sites
from fusionjax.audit.spelling import spellings
from fusionjax.audit.types import Warning
from fusionjax.audit.unread import mute, unread
from fusionjax.records.ingest import Records
from fusionjax.splits import Split

__all__ = ["Warning", "of_fit", "of_new"]


def of_fit(records: Records, split: Split, statistics: tuple[Any, ...]) -> tuple[Warning, ...]:
    """All about records that a model with these statistics is learnt from and measured on."""
    return (
        *unlabelled(records),
        *rare(records, split),
        *giveaways(records, split),
        *duplicates(records, split),
        *sites(records, split),
        *mute(records.card, statistics),
        *spellings(records.card, statistics),
        *unread(records, split.test),
        *misread(records, split.test, statistics),
        *cut(records, np.concatenate(split), statistics),
    )


def of_new(
    records: Records, rows: Int[np.ndarray, " row"], statistics: tuple[Any, ...]
) -> tuple[Warning, ...]:
    """All about records for which a model with these statistics predicts."""
    return (
        *unread(records, rows),
        *misread(records, rows, statistics),
        *cut(records, rows, statistics),
    )
