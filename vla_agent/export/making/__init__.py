"""From a policy to an exported one: graphs, the parts that the runner needs, and the parity of both."""
