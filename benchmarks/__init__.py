"""Measurements of Lamina: each prints what it measured as JSON, and as a table for people."""
