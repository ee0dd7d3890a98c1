"""The reader: an instruction in anyone's words, turned into one of the policy's own wordings, or refused."""
