"""The project's own studies, run from the root of the repository: `python -m studies.NAME.run`."""
