"""What in the records looks too good to be true or would be misread, told before it is believed.

Nothing here changes what a model sees.
"""

from fusionjax.audit.classes import rare
from fusionjax.audit.cut import cut
from fusionjax.audit.duplicates import duplicates
from fusionjax.audit.giveaways import giveaways
from fusionjax.audit.misread import misread
from fusionjax.audit.sites import sites
from fusionjax.audit.spelling import spellings
from fusionjax.audit.types import Warning
from fusionjax.audit.unread import mute, unlabelled
from fusionjax.records.ingest import Records
from fusionjax.splits import Split

__all__ = [
    "Warning",
    "cut",
    "duplicates",
    "giveaways",
    "misread",
    "mute",
    "sites",
    "spellings",
    "warnings",
]


def warnings(records: Records, split: Split) -> tuple[Warning, ...]:
    """What may make what is learnt look too good, labels read as none, and rare classes."""
    return (
        *unlabelled(records),
        *rare(records, split),
        *giveaways(records, split),
        *duplicates(records, split),
        *sites(records, split),
    )
