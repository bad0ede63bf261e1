"""What meets people: the command line, the terminal and the chat platforms. Imports `agent`, and `knowledge` to compose."""
