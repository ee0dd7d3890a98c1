"""Messages: conversions to and from arrays, and the command messages of robot controllers."""
