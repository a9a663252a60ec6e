"""Kintune beside the ways in which others fine-tune."""
