"""The same calls by HTTP: requests to the messages of `server.api`, answers to bodies."""
