"""Questions about an image, answered from what the policy sees, each with a confidence."""
