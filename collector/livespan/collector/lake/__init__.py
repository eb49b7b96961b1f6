"""The lake: what is published, as Parquet in two Delta tables, open to anybody's SQL."""
