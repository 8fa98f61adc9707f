"""The chat agent: commands, conversation, personality, and the bridges that carry its words."""
