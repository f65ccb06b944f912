"""Life after the fit: feedback log, drift, exploration, off-policy evaluation."""
