"""What clients see of a server that breaks, judged by a model of the contract."""
