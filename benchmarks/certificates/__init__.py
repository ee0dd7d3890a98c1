"""Certificates, demands and revocations, attacked."""
