"""One program per router, run by the interpreter of that router's environment.

`python -m benchmarks.peers.runners.NAME pairs.json result.json`, from the folder of this
repository. A runner imports nothing of this project but `_job`; what it may import beyond that
is what its environment holds, so routers are imported by name, inside functions.
"""
