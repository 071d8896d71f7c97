"""``make matrix``: the tests and the demo against every version of the servers that users run.

Each suite of Debian is a folder of its own (`roots`), in which programs run without being installed here
(`within`). What runs against what is in `parts`, what came of it in `results`, and `table` makes
COMPATIBILITY.md of that.
"""
