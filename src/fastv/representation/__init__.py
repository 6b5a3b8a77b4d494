"""What models and showers know: codes in files and in a page, anomaly scores, principal components, discriminants."""
