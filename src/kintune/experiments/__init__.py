"""The project's own studies: what is run, on what, and how the results become a table."""
