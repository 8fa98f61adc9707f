"""Models: a catalogue and a verified store of files, a supervised local engine, clients, numeric predictors."""
