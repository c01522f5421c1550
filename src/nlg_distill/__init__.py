"""Knowledge distillation for text generation."""
