"""Policies elsewhere: a server that speaks the protocol of openpi's client, and a policy that asks such a server."""
