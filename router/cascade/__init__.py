"""Two-stage decisions: what a first answer says about itself decides on a second."""
