"""What the router reads from a prompt: hand-made counts, word scores, the task type."""
