"""The client: its distribution, ``echomimic_client``, and what only this repository needs."""
