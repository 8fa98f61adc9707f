"""What agents remember of the people they serve: conversations word for word, recall, facts, and real erasing."""
