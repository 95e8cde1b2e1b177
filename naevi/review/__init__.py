"""Rank images by how suspicious their masks are, and show them on a page before training."""
