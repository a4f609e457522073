"""PyTorch trainers and the values that configure them; knows nothing of Ray, stores or sweeps."""
