"""Fine-tuning: adapters on a trained policy, small folders that name their base, and proof that it became better."""
