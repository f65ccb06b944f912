"""`advisor recommend`: which recipe to train for a size and a task type."""
