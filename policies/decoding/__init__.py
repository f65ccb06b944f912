"""Policies: decoding strategies, one file each."""
