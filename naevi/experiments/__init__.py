"""Results by name: compare, publish, promote and verify them."""
