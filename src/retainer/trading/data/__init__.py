"""Market data on disk: read, checked row by row, adjusted, kept. Nothing here repairs or invents a bar."""
