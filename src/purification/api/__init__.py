"""The front door in Python: what `purification` itself exports, one file each.

It joins all rooms, and no room imports it.
"""
