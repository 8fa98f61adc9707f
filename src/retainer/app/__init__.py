"""The house put together: configuration, composition, commands and operations. Sees every other room."""
