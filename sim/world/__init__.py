"""The simulated world: scene, model, cameras, arm."""
