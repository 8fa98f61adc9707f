"""The durable runtime: store, inbox, lanes, journal, effects, timers. Carries every event in and every effect out."""
