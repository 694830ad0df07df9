"""One claim a file: peer and project side by side in one run, interleaved, medians.

`python -m benchmarks` runs them all, `python -m benchmarks.NAME` one; each ends with a line of
JSON. `--smoke` takes a minute or two.
"""
