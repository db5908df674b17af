"""One client at work: a stream or a render, from checked job to encoded frames."""
