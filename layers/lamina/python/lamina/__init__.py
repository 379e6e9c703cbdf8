"""Lamina's domain: what to update, how to prove it, when to carry on and when to put everything back."""
