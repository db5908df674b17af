"""Where protobuf types end: `requests` reads what clients send, `responses` writes the answers."""
