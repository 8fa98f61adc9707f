"""From raw input to what an agent works on: stages, and one processor for each domain."""
