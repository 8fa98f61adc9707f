"""Learning that can be checked: outcomes, corrections, and the gate that alone may put a new model in use."""
