"""Which distance between two domains? Results are in `results/similarity_study.json`."""
