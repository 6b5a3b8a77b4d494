"""What models and showers know: codes in files, anomaly scores, principal components, discriminants."""
