"""What it costs to put the server between clients and a model: `python -m benchmarks.serving`."""
