"""The model's values: to JSON and back."""
