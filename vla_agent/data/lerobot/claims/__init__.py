"""What a dataset's files claim (names, sizes, shapes, digests), checked before it is used."""
