"""0 in place of a missing modality, and a column that says so: the missing-indicator method.

Fitted on the records as they came, without modality dropout, as is the field's custom: a gap that
no training record had has a column of weight 0.
"""

from fusionjax.missing import linear

fit, log_prob = linear.handler(linear.with_gaps, dropout=False)
