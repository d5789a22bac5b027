"""What a trained model is worth: robustness, clustering, figures, a report to read."""
