"""Where results can be shown by other programs: TensorBoard, MLflow, Weights & Biases; all offline, into a folder."""
