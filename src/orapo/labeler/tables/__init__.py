"""Tables of reports in, tables of label states out: CSV, gzipped CSV and Parquet, a few rows at a time."""
