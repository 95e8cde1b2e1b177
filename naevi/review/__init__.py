"""Rank images by how suspicious they and their masks are, and show them on a page before training."""
