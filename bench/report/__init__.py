"""The report: ``docs/BENCHMARKS.md`` and its plots, written from what was measured.

What was measured is kept in ``docs/benchmarks/*.json``, and newer files of ``build/bench/`` replace those. Beside each lies
a piece of Markdown with what numbers don't say: how it is measured, what was tried, why a promise is missed. `sections` says
what is in the report and in which order; `page` puts the text together and `plots` draws, both from the same values.
"""
