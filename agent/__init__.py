"""What thinks: from a conversation to an answer with citations, or to a hand-off. Imports `knowledge` only."""
