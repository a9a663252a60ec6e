"""From the declaration of an experiment to its runs, and from these to its table or figure."""
