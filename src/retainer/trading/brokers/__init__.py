"""Where orders go: the paper broker in our own database, and brokers outside."""
