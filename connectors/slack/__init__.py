"""The Slack connector: how its events are read, and how replies are shown there."""
