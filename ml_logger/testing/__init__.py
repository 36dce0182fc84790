"""Faults on demand, for tests of this library and of what is built on it: nothing of the product imports this.

`faults` says what goes wrong and when; `calls` is the client's file calls, `connection` the agent's ledger, `disk` that of the
receiver with its power cuts, `line` the way between agent and receiver without a socket. All of it is deterministic: a fault
counts calls, and never draws. docs/TESTING.md shows how to use it.
"""
