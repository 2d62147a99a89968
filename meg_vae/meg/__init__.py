"""MNE objects in, MNE objects out."""
