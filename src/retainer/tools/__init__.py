"""Typed functions an agent may call: how they are declared, found, checked and called."""
