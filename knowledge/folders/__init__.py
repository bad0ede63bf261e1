"""Folders of documents: what is in them, what has changed, and following them."""
