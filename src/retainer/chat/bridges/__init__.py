"""Bridges: one module per channel, each carrying messages between people and the hub."""
