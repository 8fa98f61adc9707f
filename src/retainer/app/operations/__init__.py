"""Keeping a service alive and recoverable: backups, restore, health, metrics, word to the service manager."""
