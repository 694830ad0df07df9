"""Records on disk, read and checked once, kept as a TFDS data set.

tables (CSV, Parquet) or catalogue (TFDS) → readers (a file or cells → one raw modality)
→ sources, patients (who a record is) → store (array_record) → ingest
"""
