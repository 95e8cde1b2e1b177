"""Fit networks."""
