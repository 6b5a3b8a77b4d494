"""Training: recipe, data, augmentation, one loop for every family, and distillation."""
