"""Triton as the gateway sees it: the table of networks, what runs them, and a server of our own."""
