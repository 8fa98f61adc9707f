"""Where bars come from: the hub of all feeds, and the replay of recorded bars."""
