"""Backends: ways to reach a model, one file or package each."""
