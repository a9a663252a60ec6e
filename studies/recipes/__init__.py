"""Errors of recipes on real networks, from which the shipped references are made."""
