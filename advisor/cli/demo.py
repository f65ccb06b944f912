"""`advisor demo`: the whole path on the embedded models, in a few minutes."""
