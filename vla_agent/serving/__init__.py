"""Remote policies: a server with the protocol of openpi's client, and a policy that is a client of such a server."""
