"""What `benchmarks.incomplete` is made of, one question a file."""
