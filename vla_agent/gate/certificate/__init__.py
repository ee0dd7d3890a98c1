"""The certificate: what it binds, keys, verification, enforcement."""
