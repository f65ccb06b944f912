"""The pocket family: tiny hybrid models, their questions, their teacher and their training."""
