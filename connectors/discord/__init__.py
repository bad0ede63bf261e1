"""The connector for Discord."""
