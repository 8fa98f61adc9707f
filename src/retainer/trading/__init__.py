"""The trading agent: bars in, decisions with reasons out, through one guard."""
