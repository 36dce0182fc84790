"""Benchmarks: what the promises cost, measured beside their floor. ``make bench`` runs them; no test is timed."""
