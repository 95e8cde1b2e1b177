"""Check images and masks, bring them to the training size, and describe them."""
