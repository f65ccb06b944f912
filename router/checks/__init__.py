"""Checks of outcomes before anything is learned from them."""
