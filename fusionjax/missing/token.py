"""A learned token in place of a missing modality, under modality dropout.

In a log-linear model a token t_i enters by θ_{i,y}·t_i alone, so it is learned as that: a number
for each class that counts where modality i is missing. It is seen wherever dropout or nature left
a gap.
"""

from fusionjax.missing import linear

fit, log_prob = linear.handler(linear.with_gaps, dropout=True)
