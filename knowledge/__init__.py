"""What is written down: documents, their passages, and the search over them. Imports nothing else of frontdesk."""
