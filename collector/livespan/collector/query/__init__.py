"""Reading what is recorded: DuckDB over the published files and what is not published yet, and the Query service."""
