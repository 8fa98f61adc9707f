"""The vocabulary every room shares: events, effects, labels, capabilities, protocols. Imports nothing of ours."""
