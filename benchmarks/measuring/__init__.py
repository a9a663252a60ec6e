"""What the benchmarks share: images, timings side by side, tables."""
