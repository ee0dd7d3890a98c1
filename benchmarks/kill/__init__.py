"""Operations that write folders, killed at any moment."""
